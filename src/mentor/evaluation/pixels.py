"""Errors of whole pictures against a target: segmentation overlap, PSNR, SSIM and reconstruction distance.

B pictures, R picture side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mentor.data.pixels import picture_pixels

if TYPE_CHECKING:
    from mentor.models.perceptual import STLPIPS

NEAR_BLACK = 40
"""A pixel of a segmentation answer shows the object when its brightest channel (0..255) is above this: tokens do not make
pure black."""


def segmentation_iou(picture: Image.Image, mask: NDArray[np.bool_]) -> float:
    """Intersection over union of the pixels that are not black with the true mask [R, R]; in [0, 1]."""
    shown = np.asarray(picture.convert("RGB")).max(axis=-1) > NEAR_BLACK
    if shown.shape != mask.shape:
        raise ValueError(f"expected a picture of the mask's size {mask.shape}, got {shown.shape}")
    union = (shown | mask).sum()
    return float((shown & mask).sum() / union) if union else 1.0


@torch.inference_mode()
def reconstruction_errors(
    pictures: Sequence[Image.Image], targets: Sequence[Image.Image], perceptual: STLPIPS
) -> dict[str, list[float]]:
    """For each pair the MSE on [-1, 1] (the paper's L2, table 5), PSNR in dB and ST-LPIPS distance."""
    errors: dict[str, list[float]] = {"mse": [], "psnr": [], "st_lpips": []}
    for start in range(0, len(pictures), 32):
        part = slice(start, start + 32)
        one, two = picture_pixels(pictures[part]), picture_pixels(targets[part])
        errors["mse"] += (one - two).square().mean(dim=(1, 2, 3)).tolist()
        errors["psnr"] += psnr(one, two).tolist()
        errors["st_lpips"] += perceptual(one, two).tolist()
    return errors


def psnr(given: Tensor, wanted: Tensor) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each pair, [B, 3, R, R] in [-1, 1] twice -> float64 [B]; equal pictures give 120."""
    if given.shape != wanted.shape:
        raise ValueError(f"expected two batches of one shape, got {tuple(given.shape)} and {tuple(wanted.shape)}")
    squared = ((given.double() - wanted.double()) / 2).square().mean(dim=(1, 2, 3))
    return (-10 * squared.clamp_min(1e-12).log10()).cpu().numpy()


def ssim(given: Tensor, wanted: Tensor) -> NDArray[np.float64]:
    """Structural similarity (Wang et al. 2004: Gaussian window, sigma 1.5) of each pair, as ``psnr``; R at least 11.

    Computed on [0, 1]: the measure compares brightnesses, so it matters that black is 0.
    """
    from skimage.metrics import structural_similarity

    pairs = zip(*(((pictures.double() + 1) / 2).cpu().numpy() for pictures in (given, wanted)), strict=True)
    scores = [
        structural_similarity(
            one, two, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for one, two in pairs
    ]
    return np.array(scores, dtype=np.float64)


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at ``size`` (width, height) in pixels; one that has it is returned as it is."""
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
