from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from mentor.evaluation.pixels import psnr, reconstruction_errors, segmentation_iou, ssim
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


def noisy(count: int = 4, side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    wanted = torch.rand(count, 3, side, side, generator=generator) * 2 - 1
    return (wanted + 0.1 * torch.randn(wanted.shape, generator=generator)).clamp(-1, 1), wanted


def test_psnr_is_that_of_scikit_image() -> None:
    given, wanted = noisy()
    expected = [
        peak_signal_noise_ratio(w.numpy(), g.numpy(), data_range=2.0) for g, w in zip(given, wanted, strict=True)
    ]
    np.testing.assert_allclose(psnr(given, wanted), expected, atol=1e-4)
    assert psnr(wanted, wanted).tolist() == pytest.approx([120.0] * 4)
    # An error of one grey level in [0, 255] everywhere is the well-known 48.13 dB.
    assert psnr(wanted + 2 / 255, wanted)[0] == pytest.approx(48.1308, abs=1e-3)


def test_psnr_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="one shape"):
        psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 16))


def test_ssim_limits_and_order() -> None:
    given, wanted = noisy()
    assert ssim(wanted, wanted).tolist() == pytest.approx([1.0] * 4)
    assert (ssim(given, wanted) > ssim(-wanted, wanted)).all()
    # Constant pictures a and b, in [0, 1], have only the luminance term: (2ab + c) / (a^2 + b^2 + c), c = 0.01^2.
    a, b = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    assert ssim(2 * a - 1, 2 * b - 1)[0] == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-4)
