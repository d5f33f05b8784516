from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mentor.data.colours import COLOURS as SRGB
from mentor.evaluation.detectors import (
    COLOURS,
    LABELS,
    ClipColours,
    Detection,
    Mask2Former,
    NearestColours,
    PrototypeDetector,
    box_of,
    cut_out,
)
from tests.evaluation.networks import answer_with_a_dog, save_mask2former

CLASSES = Path(str(files("mentor"))) / "assets/samples/geneval/classes"


def square(box: tuple[int, int, int, int], side: int = 64, label: str = "dog") -> Detection:
    mask = np.zeros((side, side), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return Detection(label, 1.0, box_of(mask), mask)


def test_labels_are_cocos_eighty() -> None:
    assert len(LABELS) == len(set(LABELS)) == 80
    assert (LABELS[0], LABELS[16], LABELS[64], LABELS[79]) == ("person", "dog", "computer mouse", "toothbrush")


def test_box_and_cut_out_follow_the_mask() -> None:
    found = square((10, 20, 30, 25))
    assert found.box == (10, 20, 30, 25)
    shown = cut_out(Image.new("RGB", (64, 64), "red"), found)
    assert shown.size == (20, 5) and shown.getpixel((0, 0)) == (255, 0, 0)
    found.mask[20, 10] = False
    assert cut_out(Image.new("RGB", (64, 64), "red"), found).getpixel((0, 0)) == (153, 153, 153)


def test_mask2former_gives_the_boxes_and_scores_of_its_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plumbing with a tiny random network whose answer is replaced by one known query."""
    detector = Mask2Former(str(save_mask2former(tmp_path)), side=64)
    picture = Image.new("RGB", (96, 48), "white")
    assert all(each.mask.shape == (48, 96) for each in detector(picture))
    answer_with_a_dog(detector, monkeypatch)
    found = detector(picture)
    assert [each.label for each in found] == ["dog"]
    assert found[0].score == pytest.approx(1, abs=5e-3) and found[0].mask.shape == (48, 96)
    left, top, right, bottom = found[0].box
    assert (top, right, bottom) == (0, 96, 48) and left == pytest.approx(48, abs=2)


def test_masks_and_scores_are_those_of_transformers_where_it_computes_at_the_pictures_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random network that finds something in every query; 384 x 384 is the one size of transformers' own masks."""
    detector = Mask2Former(str(save_mask2former(tmp_path)), side=384)
    monkeypatch.setattr("mentor.evaluation.detectors.LOWEST_SCORE", 0.0)
    picture = Image.effect_noise((384, 384), 120).convert("RGB")
    found = detector(picture)
    inputs = detector._processor(images=[picture], return_tensors="pt")
    assert inputs["pixel_values"].shape[-2:] == (384, 384)
    with torch.inference_mode():
        outputs = detector.model(**inputs)
    wanted = detector._processor.post_process_instance_segmentation(
        outputs, threshold=0.0, target_sizes=[(384, 384)], return_binary_maps=True
    )[0]
    assert len(found) == len(wanted["segments_info"]) > 0
    ours = sorted(((each.label, each.score, each.mask) for each in found), key=lambda each: each[:2])
    theirs = sorted(
        (
            (LABELS[each["label_id"]], each["score"], mask.numpy() == 1)
            for each, mask in zip(wanted["segments_info"], wanted["segmentation"], strict=True)
        ),
        key=lambda each: each[:2],
    )
    for (label, score, mask), (other, expected, shown) in zip(ours, theirs, strict=True):
        assert label == other and score == pytest.approx(expected, abs=2e-6) and (mask == shown).all()


def test_pictures_are_shown_at_mmdets_size(tmp_path: Path) -> None:
    detector = Mask2Former(str(save_mask2former(tmp_path)))
    assert detector._processor(images=[Image.new("RGB", (512, 512))])["pixel_values"][0].shape[-2:] == (800, 800)
    assert "800 px" in detector.name


def test_a_detector_of_other_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="COCO's 80 classes"):
        Mask2Former(str(save_mask2former(tmp_path, classes=7)))
    with pytest.raises(ValueError, match="cannot be loaded"):
        Mask2Former(str(tmp_path / "missing"))


class Space:
    """A text backbone whose space is the colour itself."""

    name, fingerprint = "space", "space"

    def images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        return np.array(
            [[each.resize((1, 1)).getpixel((0, 0)) == (255, 0, 0), 1] for each in pictures], dtype=np.float32
        )

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        self.seen = texts
        return np.array([["red" in each, 0.5] for each in texts], dtype=np.float32)


def test_clip_chooses_the_colour_with_the_nearest_phrases() -> None:
    space = Space()
    picture = Image.new("RGB", (64, 64), "blue")
    picture.paste("red", (0, 0, 20, 20))
    namer = ClipColours(space)
    assert namer(picture, [square((0, 0, 20, 20))], "dog") == ["red"]
    assert list(space.seen) == ["a photo of a white dog", "a photo of a white-colored dog", "a photo of a white object"]
    assert namer(picture, [square((30, 30, 50, 50))], "dog")[0] != "red"


def test_the_nearest_colour_stands_in() -> None:
    for colour in COLOURS:
        picture = Image.new("RGB", (64, 64), "gray")
        picture.paste(SRGB[colour], (10, 10, 40, 40))
        assert NearestColours()(picture, [square((10, 10, 40, 40))], "dog") == [colour]


def test_prototypes_find_pasted_objects() -> None:
    prototypes = {
        label: [Image.open(CLASSES / f"{label}-0.webp").convert("RGBA")] for label in ("cat", "giraffe", "airplane")
    }
    detector = PrototypeDetector(prototypes)
    assert detector.labels == ("cat", "giraffe", "airplane")
    picture = Image.new("RGB", (160, 160), (140, 200, 160))
    for label, corner in (("cat", (8, 50)), ("giraffe", (90, 50))):
        pasted = Image.open(CLASSES / f"{label}-2.webp").convert("RGBA")
        picture.paste(pasted, corner, pasted)
    found = sorted(detector(picture), key=lambda each: each.box[0])
    assert [each.label for each in found] == ["cat", "giraffe"]
    assert found[0].mask.shape == (160, 160) and found[0].box[0] == pytest.approx(8, abs=6)
    assert detector(Image.new("RGB", (64, 64), "red")) == []
