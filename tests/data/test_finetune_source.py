"""Samples of a person's pictures: each in turn is the target, never its own reference, held-out ones nowhere in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mentor.config.load import from_dict
from mentor.config.sources import PicturesOptions, SourceConfig
from mentor.data.example import Example
from mentor.data.finetune_source import NEUTRAL, TASK, PicturesSource
from mentor.data.source_mixture import SourceMixture
from mentor.data.sources import open_source

COLOURS = [(220, 30, 30), (30, 200, 40), (40, 60, 220), (230, 210, 40)]


def photos(folder: Path, count: int = 4) -> Path:
    """Photos of one colour each, so that one knows which is which."""
    folder.mkdir(parents=True)
    for number, colour in enumerate(COLOURS[:count]):
        Image.new("RGB", (90, 70), colour).save(folder / f"{number}.png")
    return folder


def cutouts(folder: Path, count: int = 3) -> Path:
    """Discs of one colour each on nothing."""
    folder.mkdir(parents=True)
    for number, colour in enumerate(COLOURS[:count]):
        picture = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
        ImageDraw.Draw(picture).ellipse((10, 10, 50, 50), fill=colour)
        picture.save(folder / f"{number}.png")
    return folder


def _source(folder: Path, split: str = "train", **options: object) -> PicturesSource:
    values = {"kind": "pictures", "path": str(folder), "options": {"subject": "my mug", **options}}
    source = open_source(from_dict(SourceConfig, values), split=split, size=32, seed=0)
    assert isinstance(source, PicturesSource)
    return source


def _which(picture: Image.Image) -> int | None:
    """The number of the colour that the picture's middle has."""
    pixel = np.asarray(picture.resize((9, 9), Image.Resampling.BOX))[4, 4].astype(int)
    distances = [abs(pixel - np.array(colour)).sum() for colour in COLOURS]
    return int(np.argmin(distances)) if min(distances) < 120 else None


def _reference(example: Example) -> Image.Image:
    (image,) = example.prompt.images
    return image


def test_photos_are_drawn_in_turn_from_another_one(tmp_path: Path) -> None:
    source = _source(photos(tmp_path / "mug"))
    examples = [source.example(record, 100 + record) for record in range(24)]
    assert [_which(example.target) for example in examples] == list(range(4)) * 6
    pairs = {(_which(example.target), _which(_reference(example))) for example in examples}
    assert all(target != reference for target, reference in pairs)
    assert len(pairs) > 8
    lines = [example.prompt.text.split("\n") for example in examples]
    assert {first for first, _ in lines} == {"The my mug in <image>."}
    assert {words for _, words in lines} == {text.format("my mug") for text in NEUTRAL}
    assert all(example.task == TASK and example.object_mask is None for example in examples)
    assert all(example.target.size == (32, 32) for example in examples)
    again = source.example(7, 107)
    assert again.prompt.text == examples[7].prompt.text
    assert _reference(again).tobytes() == _reference(examples[7]).tobytes()


def test_cutouts_are_put_into_scenes_that_the_words_describe(tmp_path: Path) -> None:
    source = _source(cutouts(tmp_path / "mug"))
    for record in range(12):
        example = source.example(record, record)
        assert example.object_mask is not None
        inside = np.asarray(example.target)[example.object_mask].astype(int).mean(0)
        assert abs(inside - np.array(COLOURS[record % 3])).sum() < 60
        assert _which(_reference(example)) in {0, 1, 2} - {record % 3}
        assert "my mug" in example.prompt.text.split("\n")[1]
        assert "background" in example.prompt.text or "gradient" in example.prompt.text


def test_a_cutout_with_a_caption_is_shown_whole(tmp_path: Path) -> None:
    folder = cutouts(tmp_path / "mug")
    (tmp_path / "captions.txt").write_text("1.png: my mug in space")
    example = _source(folder, captions=str(tmp_path / "captions.txt")).example(1, 0)
    assert example.prompt.text == "The my mug in <image>.\nmy mug in space"
    assert example.target.getpixel((0, 0)) == (255, 255, 255) and _which(example.target) == 1


@pytest.mark.parametrize("make", [photos, cutouts])
def test_a_single_picture_is_its_own_reference_distorted(tmp_path: Path, make: object) -> None:
    source = _source(make(tmp_path / "mug", 1))  # type: ignore[operator]
    references = [_reference(source.example(0, seed)) for seed in range(6)]
    assert len({picture.tobytes() for picture in references}) == 6
    for picture in references:
        pixels = np.asarray(picture).astype(int)
        shown = (abs(pixels - np.array(COLOURS[0])).sum(-1) < 60).mean()
        assert 0.01 < shown < 1  # it is there, and something else too


def test_photos_and_cutouts_together(tmp_path: Path) -> None:
    folder = photos(tmp_path / "mug", 1)
    (cutouts(tmp_path / "more", 2) / "1.png").rename(folder / "z.png")
    source = _source(folder)
    photo, cut = source.example(0, 0), source.example(1, 0)
    assert photo.object_mask is None and _which(_reference(photo)) == 1
    assert cut.object_mask is not None and _which(_reference(cut)) == 0


def test_held_out_pictures_are_targets_of_their_split_alone(tmp_path: Path) -> None:
    folder = photos(tmp_path / "mug")
    train, held_out = _source(folder, held_out=1), _source(folder, "held_out", held_out=1)
    seen = [train.example(record, record) for record in range(30)]
    assert {_which(picture) for one in seen for picture in (one.target, _reference(one))} == {0, 1, 2}
    apart = [held_out.example(record, record) for record in range(30)]
    assert {_which(one.target) for one in apart} == {3}
    assert {_which(_reference(one)) for one in apart} == {0, 1, 2}
    assert {_which(_source(folder, "held_out").example(record, 0).target) for record in range(4)} == {0, 1, 2, 3}


def test_held_out_samples_are_other_samples_even_of_the_same_pictures(tmp_path: Path) -> None:
    """Drawn through the mixture, as a fine-tune does: sample i of both splits has the same number and seed."""
    folder = cutouts(tmp_path / "mug")
    samples = {
        split: SourceMixture([_source(folder, split)], [1], split=split, seed=0) for split in ("train", "held_out")
    }
    for index in range(12):
        one, other = samples["train"].sample(index), samples["held_out"].sample(index)
        assert one.target.tobytes() != other.target.tobytes()


def test_a_photo_is_a_reference_as_it_is(tmp_path: Path) -> None:
    """Whole: the model's own preparation of references cuts or pads it, as it will when a person gives it."""
    folder = tmp_path / "mug"
    folder.mkdir()
    for number, colour in enumerate(COLOURS[:2]):
        Image.new("RGB", (80, 60), colour).save(folder / f"{number}.jpg")
    assert _reference(_source(folder).example(0, 0)).size == (80, 60)


def test_mistakes_are_told(tmp_path: Path) -> None:
    folder = photos(tmp_path / "mug", 2)
    with pytest.raises(ValueError, match="holds too few pictures: 2, of which 2 are to be held out"):
        _source(folder, held_out=2)
    for subject in ("", "a <image>", "my\nmug"):
        with pytest.raises(ValueError, match="subject: expected what the pictures show"):
            PicturesSource(folder, PicturesOptions(subject), split="train", size=32)
