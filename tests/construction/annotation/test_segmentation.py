"""Masks: Segment Anything with random weights against its own parts called by hand, contrast on shapes, and the limits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamProcessor,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from mentor.construction.annotation.location import Location
from mentor.construction.annotation.quality import MaskLimits, refusal
from mentor.construction.annotation.segmentation import Contrast, Mask, SegmentAnything
from tests.construction.annotation.seeing_model import shapes

SQUARE = Location((0.1, 0.2, 0.35, 0.6), ((0.2, 0.3), (0.3, 0.5)))
DISC = Location((0.55, 0.4, 0.9, 0.9))


@pytest.fixture(scope="module")
def parts() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = SamModel(
        SamConfig(
            vision_config=SamVisionConfig(
                hidden_size=16, output_channels=16, num_hidden_layers=1, num_attention_heads=2, image_size=64,
                patch_size=8, global_attn_indexes=[0], num_pos_feats=8, mlp_dim=16, window_size=4,
            ),
            prompt_encoder_config=SamPromptEncoderConfig(
                hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4
            ),
            mask_decoder_config=SamMaskDecoderConfig(
                hidden_size=16, mlp_dim=16, num_hidden_layers=2, num_attention_heads=2, iou_head_hidden_dim=16
            ),
        )
    )  # fmt: skip
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    side = {"height": 64, "width": 64}
    return model.eval(), SamProcessor(SamImageProcessorPil(size={"longest_edge": 64}, pad_size=side))


def test_masks_are_the_models_own_and_fit_the_picture(parts: tuple[Any, Any]) -> None:
    model, processor = parts
    picture, _ = shapes(["red square", "blue disc"])
    masks = SegmentAnything(model, processor)(picture, [SQUARE, DISC])
    for mask, place in zip(masks, (SQUARE, DISC), strict=True):
        box = [[[place.box[0] * 300, place.box[1] * 200, place.box[2] * 300, place.box[3] * 200]]]
        points = [[[[x * 300, y * 200] for x, y in place.points]]] if place.points else None
        inputs = processor(picture, input_boxes=box, input_points=points, return_tensors="pt")
        with torch.inference_mode():
            found = model(
                pixel_values=inputs["pixel_values"],
                input_boxes=inputs["input_boxes"],
                **({"input_points": inputs["input_points"]} if points else {}),
            )
        best = int(found.iou_scores[0, 0].argmax())
        (expected,) = processor.image_processor.post_process_masks(
            found.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        assert mask.pixels.shape == (200, 300)
        assert mask.pixels.dtype == bool
        assert np.array_equal(mask.pixels, expected[0, best].numpy())
        assert mask.score == pytest.approx(float(found.iou_scores[0, 0, best].clamp(0, 1)), abs=1e-5)
    assert not np.array_equal(masks[0].pixels, masks[1].pixels)


def test_it_is_loaded_from_a_folder(parts: tuple[Any, Any], tmp_path: Path) -> None:
    for part in parts:
        part.save_pretrained(tmp_path)
    picture, _ = shapes(["red square"])
    loaded, own = SegmentAnything.load(str(tmp_path)), SegmentAnything(*parts)
    assert np.array_equal(loaded(picture, [SQUARE])[0].pixels, own(picture, [SQUARE])[0].pixels)
    assert own(picture, []) == []


def test_what_is_no_such_model_is_told(parts: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Segment Anything .* cannot be loaded"):
        SegmentAnything.load(str(tmp_path))
    parts[1].save_pretrained(tmp_path)
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    CLIPVisionModel(vision).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"Segment Anything .* has no fitting weights for .* \(\d+ in all\)"):
        SegmentAnything.load(str(tmp_path))


def test_weights_of_16_bits_are_computed_in_32(parts: tuple[Any, Any], tmp_path: Path) -> None:
    half = copy.deepcopy(parts[0]).half()
    for part in (half, parts[1]):
        part.save_pretrained(tmp_path)
    picture, _ = shapes(["red square"])
    (mask,) = SegmentAnything.load(str(tmp_path))(picture, [SQUARE])
    assert mask.pixels.shape == (200, 300)


def test_contrast_finds_shapes_on_plain_grounds() -> None:
    picture, truth = shapes(["red square", "blue disc"])
    for mask, name in zip(Contrast()(picture, [SQUARE, DISC]), truth, strict=True):
        assert (mask.pixels & truth[name]).sum() / (mask.pixels | truth[name]).sum() > 0.95
        assert mask.score == 1.0
    beside = Location(SQUARE.box, ((0.11, 0.21), (0.9, 0.1)))
    assert Contrast()(picture, [beside])[0].score == 0.5
    assert not Contrast()(Image.new("RGB", (50, 50)), [Location((0.0, 0.0, 1.0, 1.0))])[0].pixels.any()


def _square(left: int, top: int, side: int) -> np.ndarray[Any, Any]:
    pixels = np.zeros((100, 100), bool)
    pixels[top : top + side, left : left + side] = True
    return pixels


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (Mask(_square(10, 10, 30), 0.9), None),
        (Mask(_square(10, 10, 30), 0.7), "the segmenter's score is 0.70"),
        (Mask(_square(10, 10, 5), 0.9), "covers 0.25% of the picture"),
        (Mask(np.ones((100, 100), bool), 0.9), "covers 100.00% of the picture"),
        (Mask(np.zeros((100, 100), bool), 0.9), "the mask is empty"),
        (Mask(_square(25, 10, 30), 0.9), "only 53% lie in its box"),
        (Mask(_square(10, 10, 8), 0.9), "its extent agrees with its box by 7%"),
        (Mask(_square(11, 11, 29), 0.9), None),
    ],
)
def test_limits(mask: Mask, reason: str | None) -> None:
    assert refusal(mask, Location((0.1, 0.1, 0.4, 0.4)), [], MaskLimits()) == reason


def test_a_mask_beside_its_points() -> None:
    ring = _square(10, 10, 30) & ~_square(15, 15, 20)
    place = Location((0.1, 0.1, 0.4, 0.4), ((0.25, 0.25), (0.2, 0.2), (0.12, 0.12)))
    assert refusal(Mask(ring, 0.9), place, [], MaskLimits()) == "1 of its 3 points lie on it"
    assert refusal(Mask(ring, 0.9), place, [], MaskLimits(min_points=0.3)) is None


def test_the_same_thing_under_two_names() -> None:
    first, second = Mask(_square(10, 10, 30), 0.9), Mask(_square(11, 11, 29), 0.9)
    place = Location((0.1, 0.1, 0.4, 0.4))
    assert refusal(second, place, [first], MaskLimits()) == "overlaps object 1 by 93%"
    assert refusal(second, place, [first], MaskLimits(max_overlap=0.95)) is None
