"""What makes a picture a cut-out: tight crop, fixed size, enough object and enough transparency."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

CUTOUT_SIDE = 128
BACKGROUND_SIDE = 256
_MIN_SIDE = 40
_MIN_COVER = 0.04
_MIN_TRANSPARENT = 0.02


def cut_out(image: Image.Image) -> Image.Image | None:
    """RGBA crop to the alpha's box plus one pixel, longest side 128; None if nearly empty or a full rectangle."""
    image = image.convert("RGBA")
    alpha = np.asarray(image.getchannel("A"))
    rows, columns = np.flatnonzero((alpha > 8).any(1)), np.flatnonzero((alpha > 8).any(0))
    if max(len(rows), len(columns)) < _MIN_SIDE:
        return None
    # Image.crop fills what lies outside the picture with transparent pixels.
    image = image.crop((int(columns[0]) - 1, int(rows[0]) - 1, int(columns[-1]) + 2, int(rows[-1]) + 2))
    solid = np.asarray(image.getchannel("A"))[1:-1, 1:-1] >= 128
    if np.mean(solid) < _MIN_COVER or np.mean(solid) > 1 - _MIN_TRANSPARENT:
        return None
    scale = CUTOUT_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def background(image: Image.Image) -> Image.Image:
    """RGB image with short side 256."""
    scale = BACKGROUND_SIDE / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def encode_webp(image: Image.Image) -> bytes:
    """WebP bytes: colour at quality 90, alpha lossless."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=90, alpha_quality=100, method=4)
    return stream.getvalue()
