"""Pictures as the numbers that networks see, and back: the one place that says where black and white lie.

R picture side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def to_pixels(levels: NDArray[np.uint8] | Tensor) -> Tensor:
    """Levels 0..255 of RGB pictures [..., R, R, 3] -> float32 [..., 3, R, R] in [-1, 1]."""
    tensor = levels if isinstance(levels, Tensor) else torch.from_numpy(np.array(levels))
    return tensor.movedim(-1, -3).float() / 127.5 - 1


def to_levels(pixels: Tensor) -> NDArray[np.uint8]:
    """The other way, rounded: [..., 3, R, R] in any float format -> uint8 [..., R, R, 3]; what lies outside is cut off."""
    levels = ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.movedim(-3, -1).cpu().numpy()


def picture_pixels(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size -> float32 [B, 3, R, R] in [-1, 1]."""
    return to_pixels(np.stack([np.asarray(picture.convert("RGB")) for picture in pictures]))


def pixel_grid(rows: Tensor) -> Image.Image:
    """One picture of all: [rows, columns, 3, R, R] in [-1, 1] -> rows x R high and columns x R wide."""
    levels = to_levels(rows).transpose(0, 2, 1, 3, 4)
    down, side, across = levels.shape[:3]
    return Image.fromarray(levels.reshape(down * side, across * side, 3))
