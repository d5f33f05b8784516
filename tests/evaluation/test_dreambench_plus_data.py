"""The official layout on disk: references with prompts, and the tree of a method's pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mentor.data.images import load_image
from mentor.evaluation.dreambench_plus_data import (
    Collection,
    picture_key,
    rating_key,
    read_collections,
    write_tree,
)
from mentor.evaluation.protocol import Source

PROMPTS = [f"prompt {number}" for number in range(9)]


def write_reference(folder: Path, place: str, lines: list[str], colour: str = "red") -> None:
    image, captions = folder / "images" / f"{place}.jpg", folder / "captions" / f"{place}.txt"
    image.parent.mkdir(parents=True, exist_ok=True)
    captions.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), colour).save(image)
    captions.write_text("\n".join(lines) + "\n")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_reference(folder, "style/03", ["Ukiyo-e", *PROMPTS])
    write_reference(folder, "live_subject/animal/00", ["kitten", *PROMPTS], "blue")
    write_reference(folder, "live_subject/human/07", ["Old Man", *PROMPTS])
    write_reference(folder, "object/12", ["Rolls-Royce hood ornament", *PROMPTS])
    return folder


def test_ids_are_the_official_ones_in_their_order(data: Path) -> None:
    collections = read_collections(Source(data))
    assert [(each.name, each.category) for each in collections] == [
        ("live_subject_animal_00_kitten", "animal"),
        ("live_subject_human_07_old_man", "human"),
        ("object_12_rolls-royce_hood_ornament", "object"),
        ("style_03_ukiyo-e", "style"),
    ]
    kitten = collections[0]
    assert (kitten.subject, kitten.prompts, kitten.image.size) == ("kitten", tuple(PROMPTS), (12, 8))
    assert kitten.image.getpixel((5, 5))[2] > 240


def test_keys_are_places_and_rating_names() -> None:
    key = picture_key("object_12_rolls-royce_hood_ornament", 8)
    assert key == "object_12_rolls-royce_hood_ornament/8_0"
    assert rating_key(key) == "object_12_rolls-royce_hood_ornament-8"


def test_the_built_in_sample_has_the_official_layout() -> None:
    import mentor

    folder = Path(mentor.__file__).parent / "assets" / "samples" / "dreambench_plus"
    collections = read_collections(Source(folder, sample=True))
    assert {each.category for each in collections} == {"animal", "human", "object", "style"}
    assert all(len(set(each.prompts)) == 9 for each in collections)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 100_000


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["kitten", *PROMPTS[:8]], "got 9 lines"),
        (["kitten", *PROMPTS, "one more"], "got 11 lines"),
        (["kitten", *PROMPTS[:4], " ", *PROMPTS[5:]], "some empty"),
        (["a/b", *PROMPTS], "cannot be part of a folder's name"),
    ],
)
def test_damaged_captions(data: Path, lines: list[str], message: str) -> None:
    (data / "captions/live_subject/animal/00.txt").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        read_collections(Source(data))


def test_what_is_missing_is_named(data: Path, tmp_path: Path) -> None:
    (data / "captions/object/12.txt").unlink()
    with pytest.raises(ValueError, match=r"1 caption file\(s\) are missing, the first for object/12"):
        read_collections(Source(data))
    (data / "images/object/12.jpg").unlink()
    (data / "images/style/03.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 picture file\(s\) are missing, the first for style/03"):
        read_collections(Source(data))
    with pytest.raises(ValueError, match="expected images in it"):
        read_collections(Source(tmp_path))


def test_an_unreadable_picture_and_an_unknown_category_are_named(data: Path) -> None:
    (data / "images/style/03.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"style/03\.jpg: not a picture"):
        read_collections(Source(data))
    (data / "images/style/03.jpg").unlink()
    (data / "captions/style/03.txt").unlink()
    write_reference(data, "plants/00", ["rose", *PROMPTS])
    with pytest.raises(ValueError, match="got 'plants'"):
        read_collections(Source(data))


def test_a_tree_is_written_and_read_back(data: Path, tmp_path: Path) -> None:
    collections = read_collections(Source(data))
    pictures: list[Image.Image | None] = [Image.new("RGB", (16, 16), (number * 7, 0, 0)) for number in range(36)]
    pictures[10] = None
    write_tree(tmp_path / "ours", collections, pictures)
    root = tmp_path / "ours"
    assert (root / "text/style_03_ukiyo-e/8_0.txt").read_text() == "prompt 8"
    assert load_image(root / "src_image/live_subject_animal_00_kitten/0_0.jpg").size == (12, 8)
    keys = [picture_key(collection.name, index) for collection in collections for index in range(9)]
    assert [(root / "tgt_image" / f"{key}.jpg").is_file() for key in keys] == [number != 10 for number in range(36)]
    for number, key in enumerate(keys):
        if number != 10:
            shown = load_image(root / "tgt_image" / f"{key}.jpg")
            assert abs(shown.getpixel((8, 8))[0] - number * 7) <= 3
    with pytest.raises(ValueError, match="is there already"):
        write_tree(root, collections, pictures)


def test_wrong_trees(data: Path, tmp_path: Path) -> None:
    collections = read_collections(Source(data))
    with pytest.raises(ValueError, match="expected 36 pictures, got 1"):
        write_tree(tmp_path / "few", collections, [None])


def test_a_tree_that_fails_leaves_nothing(tmp_path: Path) -> None:
    broken = Collection("a", "animal", "a", Image.new("RGB", (4, 4)), tuple(PROMPTS))
    with pytest.raises(FileExistsError):
        write_tree(tmp_path / "x", [broken, broken], [None] * 18)
    assert list(tmp_path.iterdir()) == []
