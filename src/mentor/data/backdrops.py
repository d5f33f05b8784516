"""What stands behind the objects: one named colour, a vertical gradient of two, or a crop of a photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data.catalog import THUMBNAIL, Catalog
from mentor.data.colours import COLOURS, RGB, jitter, lab

BACKDROPS: dict[str, float] = {"solid": 0.5, "gradient": 0.35, "photo": 0.15}
"""How often each kind is drawn; photos cost a decoder the most, so they stay rare."""

VISIBLE = 22.0
"""An edge pixel is visible when it is at least this far (CIE L*a*b* distance) from what is behind it."""

VISIBLE_ON_PHOTO = 32.0
"""The same on a photo, whose mean colour stands for its texture."""

VISIBLE_SHARE = 0.75
"""Share of an object's edge pixels that must be visible."""

Placed = tuple[str, tuple[float, float], tuple[float, float]]
"""A cut-out's key, its centre (x, y) and its extent (width, height), as shares of the canvas."""


@dataclass(frozen=True)
class Backdrop:
    """A background as pure data, in units of the canvas."""

    kind: Literal["solid", "gradient", "photo"]
    colours: tuple[str, ...] = ()
    """Names from ``COLOURS``: one for ``solid``, top and bottom for ``gradient``, none for ``photo``."""
    rgb: tuple[RGB, ...] = ()
    """The values really used, sRGB 0..255, one for each of ``colours``."""
    photo: str = ""
    """Key of the background photo."""
    crop: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Square cut from the photo: left and top as shares of the free room, side as a share of the photo's short side."""


def solid(name: str, rng: np.random.Generator) -> Backdrop:
    """A background of one named colour."""
    return Backdrop("solid", (name,), (jitter(name, rng),))


def gradient(top: str, bottom: str, rng: np.random.Generator) -> Backdrop:
    """A background that runs from one named colour at the top to another at the bottom."""
    return Backdrop("gradient", (top, bottom), (jitter(top, rng), jitter(bottom, rng)))


def draw_backdrop(backdrop: Backdrop, catalog: Catalog, size: int) -> Image.Image:
    """The background alone as RGB, ``size`` x ``size`` pixels."""
    if backdrop.kind == "solid":
        return Image.new("RGB", (size, size), backdrop.rgb[0])
    if backdrop.kind == "gradient":
        top, bottom = np.array(backdrop.rgb, dtype=np.float64)
        share = np.linspace(0, 1, size)[:, None, None]
        column = np.rint(top * (1 - share) + bottom * share).astype(np.uint8)
        return Image.fromarray(np.broadcast_to(column, (size, size, 3)))
    photo = catalog.photo(backdrop.photo)
    left, top_edge, side = backdrop.crop
    pixels = side * min(photo.size)
    x, y = left * (photo.width - pixels), top_edge * (photo.height - pixels)
    return photo.resize((size, size), Image.Resampling.BOX, box=(x, y, x + pixels, y + pixels))


def sample_backdrop(
    catalog: Catalog, rng: np.random.Generator, placed: Sequence[Placed], weights: Mapping[str, float] = BACKDROPS
) -> Backdrop:
    """Random background that every placed object stands out from.

    When no colour is far enough from all objects, the ones they stand out from best are used.
    """
    names = list(weights)
    chances = np.array([weights[name] for name in names], dtype=np.float64)
    kind = names[int(np.searchsorted(np.cumsum(chances), rng.random() * chances.sum(), side="right"))]
    if kind == "photo":
        photo = _sample_photo(catalog, rng, placed)
        if photo is not None:
            return photo
        kind = "solid"
    shares = (
        np.min([_visible(catalog.edge(key), _PALETTE) for key, _, _ in placed], axis=0)
        if placed
        else np.ones(len(_PALETTE))
    )
    fitting = np.flatnonzero(shares >= VISIBLE_SHARE)
    if len(fitting) < 2:
        fitting = np.argsort(-shares, kind="stable")[:2]
    colours = [_NAMES[number] for number in fitting]
    if kind == "solid":
        return solid(colours[int(rng.integers(len(colours)))], rng)
    best, best_share = None, -1.0
    for _ in range(6):
        top, bottom = (colours[number] for number in rng.choice(len(colours), size=2, replace=False))
        share = min((_visible_on_gradient(catalog, item, top, bottom) for item in placed), default=1.0)
        if share > best_share:
            best, best_share = (top, bottom), share
        if share >= VISIBLE_SHARE:
            break
    assert best is not None
    return gradient(*best, rng)


def stands_out(catalog: Catalog, key: str, rgb: RGB) -> bool:
    """Whether enough of a cut-out's edge is visible on one plain colour (sRGB 0..255)."""
    return bool(_visible(catalog.edge(key), lab(rgb)[None])[0] >= VISIBLE_SHARE)


_NAMES = tuple(COLOURS)
_PALETTE = lab(np.array(list(COLOURS.values())))


def _visible(edge: NDArray[np.float64], behind: NDArray[np.float64], least: float = VISIBLE) -> NDArray[np.float64]:
    """Share [C] of the edge pixels [E, 3] that are visible on each colour of ``behind`` [C, 3]."""
    return (np.linalg.norm(edge[None] - behind[:, None], axis=-1) >= least).mean(axis=1)


def _visible_on_gradient(catalog: Catalog, item: Placed, top: str, bottom: str) -> float:
    key, (_, y), (_, height) = item
    share = np.clip(y + height * np.array([[-0.35], [0.0], [0.35]]), 0, 1)
    behind = np.array(COLOURS[top]) * (1 - share) + np.array(COLOURS[bottom]) * share
    return float(_visible(catalog.edge(key), lab(behind)).min())


def _sample_photo(
    catalog: Catalog, rng: np.random.Generator, placed: Sequence[Placed], tries: int = 6
) -> Backdrop | None:
    for _ in range(tries):
        photo = catalog.pick_photo(rng)
        if photo is None:
            return None
        left, top, side = rng.random(), rng.random(), rng.uniform(0.5, 1.0)
        backdrop = Backdrop("photo", photo=photo.key, crop=(left, top, side))
        if all(_visible_on_photo(catalog, item, backdrop) >= VISIBLE_SHARE for item in placed):
            return backdrop
    return None


def _visible_on_photo(catalog: Catalog, item: Placed, backdrop: Backdrop) -> float:
    key, centre, extent = item
    image = catalog.photo(backdrop.photo)
    short = min(image.size)
    side = backdrop.crop[2] * short
    window = []
    for axis in range(2):
        start = backdrop.crop[axis] * (image.size[axis] - side)
        edges = [
            (start + (centre[axis] + sign * extent[axis] / 2) * side) / image.size[axis] * THUMBNAIL for sign in (-1, 1)
        ]
        low = min(THUMBNAIL - 1, max(0, int(edges[0])))
        window.append(slice(low, max(low + 1, int(np.ceil(edges[1])))))
    behind = catalog.thumbnail(backdrop.photo)[window[1], window[0]].reshape(-1, 3).mean(axis=0)
    return float(_visible(catalog.edge(key), behind[None], VISIBLE_ON_PHOTO)[0])
