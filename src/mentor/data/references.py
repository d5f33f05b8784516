"""Reference pictures: a subject on another background, in another size, outline and light than in the target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from mentor.data.augment import relight, sample_light, sample_warp, warp
from mentor.data.backdrops import draw_backdrop, sample_backdrop, stands_out
from mentor.data.catalog import Catalog

WHITE_SHARE = 0.5
"""How often a reference is shown on plain white, when it stands out there."""

_OTHER = {"solid": 0.45, "gradient": 0.3, "photo": 0.25}
_ANY = {"solid": 0.3, "gradient": 0.3, "photo": 0.4}


def reference_picture(key: str, catalog: Catalog, rng: np.random.Generator, size: int, *, same: bool) -> Image.Image:
    """A subject shown alone near the middle at a random scale; RGB, size x size pixels.

    ``same`` says that the target shows this very cut-out: it is then turned, perhaps mirrored, and lit otherwise.
    """
    change = sample_warp(rng, 1.0 if same else 0.35)
    if same:
        change = replace(change, flip=bool(rng.random() < 0.5))
    picture = warp(catalog.picture(key), change, round(size * rng.uniform(0.5, 0.9)))
    picture = relight(picture, sample_light(rng, 1.0 if same else 0.4))
    spot = 0.5 + rng.uniform(-0.06, 0.06, size=2)
    if rng.random() < WHITE_SHARE and stands_out(catalog, key, (255, 255, 255)):
        canvas = Image.new("RGB", (size, size), "white")
    else:
        canvas = _canvas(key, catalog, rng, size, picture, spot, _OTHER)
    return _put(canvas, picture, spot)


def recovery_picture(key: str, catalog: Catalog, rng: np.random.Generator, size: int) -> Image.Image:
    """An object turned, resized, warped and put somewhere on a random background (paper 3.1, image recovery)."""
    picture = warp(catalog.picture(key), sample_warp(rng, 1.0), round(size * rng.uniform(0.3, 0.8)))
    spot = rng.uniform(size=2)
    return _put(_canvas(key, catalog, rng, size, picture, spot, _ANY), picture, spot)


def _canvas(
    key: str,
    catalog: Catalog,
    rng: np.random.Generator,
    size: int,
    picture: Image.Image,
    spot: np.ndarray,
    kinds: dict[str, float],
) -> Image.Image:
    placed = (key, (float(spot[0]), float(spot[1])), (picture.width / size, picture.height / size))
    return draw_backdrop(sample_backdrop(catalog, rng, [placed], kinds), catalog, size)


def _put(canvas: Image.Image, picture: Image.Image, spot: np.ndarray) -> Image.Image:
    corner = [
        int(np.clip(round(at * side - length / 2), 0, max(0, side - length)))
        for at, side, length in zip(spot, canvas.size, picture.size, strict=True)
    ]
    canvas.paste(picture, (corner[0], corner[1]), picture)
    return canvas
