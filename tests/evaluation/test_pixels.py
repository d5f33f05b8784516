from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mentor.evaluation.pixels import reconstruction_errors, segmentation_iou, to_pixels
from mentor.models.perceptual import STLPIPS


def gray(level: int) -> Image.Image:
    return Image.new("RGB", (64, 64), (level, level, level))


def test_iou_counts_what_is_not_black() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[:32] = True
    half = gray(8)
    half.paste((0, 200, 0), (0, 0, 32, 64))
    assert segmentation_iou(half, mask) == pytest.approx(1 / 3)
    assert segmentation_iou(Image.fromarray(mask.astype(np.uint8) * 255), mask) == 1
    assert segmentation_iou(gray(8), mask) == 0
    assert segmentation_iou(gray(200), mask) == 0.5


def test_iou_refuses_another_size() -> None:
    with pytest.raises(ValueError, match="mask's size"):
        segmentation_iou(gray(0), np.zeros((32, 32), dtype=bool))


def test_reconstruction_errors_are_those_of_the_formulas(trunk: STLPIPS) -> None:
    errors = reconstruction_errors([gray(0), gray(100)], [gray(255), gray(100)], trunk)
    assert errors["mse"] == pytest.approx([4.0, 0.0])
    assert errors["psnr"][0] == pytest.approx(0.0, abs=1e-4)
    assert errors["psnr"][1] > 60
    assert errors["st_lpips"][1] == pytest.approx(0, abs=1e-6) and errors["st_lpips"][0] > 0.01


def test_pixels_span_minus_one_to_one() -> None:
    pixels = to_pixels([gray(0), gray(255)])
    assert pixels.shape == (2, 3, 64, 64)
    assert pixels[0].unique().tolist() == [-1] and pixels[1].unique().tolist() == [1]
