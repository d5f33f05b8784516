"""The pack in the repository: split, licences and pictures; and packs that are absent or damaged."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.data.corpus import Corpus, Cutout

PACK = Path(__file__).parents[2] / "corpus"
ALLOWED = {"MIT", "Apache-2.0", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0"}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus.load(PACK)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A pack of the repository's smallest shards, to be damaged."""
    manifest = json.loads((PACK / "manifest.json").read_text())
    manifest["shards"] = sorted(manifest["shards"], key=lambda shard: shard["bytes"])[:2]
    for shard in manifest["shards"]:
        shutil.copy(PACK / shard["file"], tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def first_shard(folder: Path) -> Path:
    return folder / json.loads((folder / "manifest.json").read_text())["shards"][0]["file"]


def test_the_manifest_counts_what_is_there(corpus: Corpus) -> None:
    shards = json.loads((PACK / "manifest.json").read_text())["shards"]
    assert sum(shard["count"] for shard in shards if shard["kind"] == "cutout") == len(corpus.cutouts)
    assert sum(shard["count"] for shard in shards if shard["kind"] == "background") == len(corpus.backgrounds)
    assert sum(shard["bytes"] for shard in shards) < 40e6
    assert {path.name for path in PACK.glob("*.tar.gz")} == {shard["file"] for shard in shards}


def test_no_noun_is_on_both_sides_but_in_the_held_out_style(corpus: Corpus) -> None:
    nouns = {
        split: {cutout.noun for cutout in corpus.split(split).cutouts if cutout.source != "fxemoji"}
        for split in ("train", "test")
    }
    assert not nouns["train"] & nouns["test"]
    assert len(nouns["test"]) > 50
    assert len(nouns["train"]) > 500


def test_no_individual_and_no_concept_is_on_both_sides(corpus: Corpus) -> None:
    for name in ("identity", "concept"):
        sides = defaultdict(set)
        for cutout in corpus.cutouts:
            if cutout.source != "fxemoji":
                sides[getattr(cutout, name)].add(cutout.split)
        assert all(len(splits) == 1 for splits in sides.values())


def test_the_held_out_style_is_never_in_train(corpus: Corpus) -> None:
    assert {cutout.split for cutout in corpus.cutouts if cutout.source == "fxemoji"} == {"test"}
    assert "muted" not in {cutout.style for cutout in corpus.split("train").cutouts}


def test_only_permissive_licences_and_every_picture_attributed(corpus: Corpus) -> None:
    assert {item.licence for item in [*corpus.cutouts, *corpus.backgrounds]} <= ALLOWED
    assert all(item.author for item in [*corpus.cutouts, *corpus.backgrounds])
    with (PACK / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["key"]: row for row in csv.DictReader(stream)}
    assert rows.keys() == {item.key for item in [*corpus.cutouts, *corpus.backgrounds]}
    for cutout in corpus.cutouts[::97]:
        assert (rows[cutout.key]["author"], rows[cutout.key]["licence"]) == (cutout.author, cutout.licence)


def test_keys_are_unique_and_sorted(corpus: Corpus) -> None:
    keys = [cutout.key for cutout in corpus.cutouts]
    assert keys == sorted(set(keys))


def test_subjects_are_plain_noun_phrases(corpus: Corpus) -> None:
    for cutout in corpus.cutouts:
        assert set(cutout.subject) <= set("abcdefghijklmnopqrstuvwxyz -"), cutout.key


def test_pictures_are_tight_cut_outs(corpus: Corpus) -> None:
    for cutout in corpus.cutouts[::41]:
        image = cutout.image
        assert image.mode == "RGBA"
        assert max(image.size) == 128
        alpha = np.asarray(image.getchannel("A"))
        assert 0.03 < np.mean(alpha >= 128) < 0.99, cutout.key
        left, top, right, bottom = image.getchannel("A").point(lambda value: 255 * (value > 8)).getbbox()
        assert max(left, top, image.width - right, image.height - bottom) <= 3, cutout.key


def test_backgrounds_of_both_splits(corpus: Corpus) -> None:
    assert {background.split for background in corpus.backgrounds} == {"train", "test"}
    for background in corpus.backgrounds:
        assert background.image.mode == "RGB"
        assert min(background.image.size) == 256


def test_individuals_with_several_pictures(corpus: Corpus) -> None:
    groups = corpus.by_identity("train")
    assert all({cutout.split for cutout in group} == {"train"} for group in groups.values())
    views = [group for name, group in groups.items() if name.startswith("furniture/")]
    assert sum(len(group) >= 4 for group in views) > 200
    assert all([cutout.view for cutout in group] == sorted({c.view for c in group}) for group in views)
    families = [{cutout.style for cutout in group} for name, group in groups.items() if name.startswith("fluent/")]
    assert sum(styles == {"3d", "flat", "glossy"} for styles in families) > 500
    single = [group for name, group in groups.items() if not name.startswith(("fluent/", "furniture/"))]
    assert all(len(group) == 1 for group in single)


def test_a_split_has_a_name_of_two(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="'validation'"):
        corpus.split("validation")


def test_a_cutout_travels_between_processes(corpus: Corpus) -> None:
    cutout = corpus.cutouts[0]
    again = pickle.loads(pickle.dumps(cutout))
    assert again == cutout
    assert hash(again) == hash(cutout)
    assert np.array_equal(np.asarray(again.image), np.asarray(cutout.image))


def test_changing_a_picture_does_not_change_the_corpus(corpus: Corpus) -> None:
    image = corpus.cutouts[0].image
    before = np.asarray(image).copy()
    image.paste((0, 0, 0, 0), (0, 0, *image.size))
    assert np.array_equal(np.asarray(corpus.cutouts[0].image), before)


def test_a_cutout_without_a_picture_is_refused(corpus: Corpus) -> None:
    fields = {name: getattr(corpus.cutouts[0], name) for name in Cutout.__dataclass_fields__ if name != "image"}
    with pytest.raises(TypeError, match="image"):
        Cutout(**fields)
    picture = Image.new("RGBA", (4, 4))
    assert Cutout(**fields, image=picture).image is picture


def test_the_folder_is_named_or_found(
    copy: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [cutout.key for cutout in Corpus.load(copy).cutouts]
    monkeypatch.setenv("MENTOR_CORPUS", str(copy))
    assert [cutout.key for cutout in Corpus.load().cutouts] == keys
    monkeypatch.delenv("MENTOR_CORPUS")
    here = tmp_path_factory.mktemp("work")
    (here / "corpus").symlink_to(copy)
    monkeypatch.chdir(here)
    assert [cutout.key for cutout in Corpus.load().cutouts] == keys


def test_an_absent_pack_tells_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="mentor build-corpus"):
        Corpus.load(tmp_path)
    # A folder that was asked for is never replaced by another one.
    monkeypatch.setenv("MENTOR_CORPUS", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="nowhere.*mentor build-corpus"):
        Corpus.load()


def test_a_missing_shard_is_named(copy: Path) -> None:
    shard = first_shard(copy)
    shard.unlink()
    with pytest.raises(ValueError, match=f"{shard.name} is missing.*mentor build-corpus"):
        Corpus.load(copy)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_a_damaged_shard_is_named(copy: Path, damage: str) -> None:
    shard = first_shard(copy)
    data = bytearray(shard.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    shard.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "flipped": data}[damage])
    with pytest.raises(ValueError, match=f"{shard.name} is damaged.*mentor build-corpus"):
        Corpus.load(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "shards": []}', '{"shards": []}', '{"format": 1}'])
def test_a_broken_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json.*mentor build-corpus"):
        Corpus.load(tmp_path)
