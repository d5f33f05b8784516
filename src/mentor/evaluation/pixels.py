"""Errors of whole pictures against a target: segmentation overlap and reconstruction distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

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
        one, two = to_pixels(pictures[part]), to_pixels(targets[part])
        squared = (one - two).square().mean(dim=(1, 2, 3))
        errors["mse"] += squared.tolist()
        # The range is 2 wide, so its square is 4; the floor stands for a perfect copy in 8 bits.
        errors["psnr"] += (10 * torch.log10(4 / squared.clamp_min(1e-6))).tolist()
        errors["st_lpips"] += perceptual(one, two).tolist()
    return errors


def to_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """RGB pictures of one size -> float32 [B, 3, R, R] in [-1, 1]."""
    stacked = np.stack([np.asarray(picture.convert("RGB"), dtype=np.float32) for picture in pictures])
    return torch.from_numpy(stacked / 127.5 - 1).permute(0, 3, 1, 2)
