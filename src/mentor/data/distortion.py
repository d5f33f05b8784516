"""Image recovery's condition (paper 2.3): a segmented object, warped, put somewhere on another background."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALLEST, SMALLEST_SHARE = 0.2, 0.1
"""An object is scaled between max(SMALLEST, SMALLEST_SHARE x the largest scale) and the largest scale that fits."""
WARPED = 0.5
"""How often the object is stretched, sheared, turned and seen in perspective as well."""


def distorted(
    image: Image.Image, mask: NDArray[np.bool_], background: Image.Image, rng: np.random.Generator
) -> Image.Image:
    """``image`` [R, R] where ``mask`` [R, R] is true, in a new size and place on ``background``; RGB as large as that.

    The object keeps its frame, so a small object stays small. ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("the mask marks no pixel")
    cut = Image.fromarray(np.where(mask[..., None], np.asarray(image), 0).astype(np.uint8))
    cut.putalpha(Image.fromarray(mask.astype(np.uint8) * 255))
    fit = min(background.width / cut.width, background.height / cut.height)
    scale = rng.uniform(min(fit, max(SMALLEST, SMALLEST_SHARE * fit)), fit)
    cut = cut.resize((max(1, int(cut.width * scale)), max(1, int(cut.height * scale))), Image.Resampling.LANCZOS)
    if rng.random() < WARPED:
        cut = _warped(cut, rng)
        cut.thumbnail(background.size, Image.Resampling.LANCZOS)
    canvas = background.copy()
    left = int(rng.integers(background.width - cut.width + 1))
    top = int(rng.integers(background.height - cut.height + 1))
    canvas.paste(cut, (left, top), cut)
    return canvas


def _warped(cut: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Stretched by up to a fifth or sheared by up to 0.2, turned by up to 20 degrees, corners moved by up to a tenth."""
    if rng.random() < 0.5:
        wide, high = rng.uniform(0.8, 1.2, size=2)
        cut = cut.resize((max(1, int(cut.width * wide)), max(1, int(cut.height * high))), Image.Resampling.BICUBIC)
    else:
        shear = rng.uniform(-0.2, 0.2)
        width = cut.width + math.ceil(abs(shear) * cut.height)
        offset = -shear * cut.height if shear > 0 else 0.0
        cut = cut.transform(
            (width, cut.height), Image.Transform.AFFINE, (1, shear, offset, 0, 1, 0), Image.Resampling.BICUBIC
        )
    cut = cut.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BICUBIC, expand=True)
    width, height = cut.size
    corners = [(0, 0), (0, height), (width, height), (width, 0)]
    moved = [(x + rng.uniform(-0.1, 0.1) * width, y + rng.uniform(-0.1, 0.1) * height) for x, y in corners]
    quad = tuple(float(value) for corner in moved for value in corner)
    return cut.transform(cut.size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
