"""Draws a scene at any resolution, with the exact mask and box of every object."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data.backdrops import draw_backdrop
from mentor.data.catalog import Catalog, catalog_of
from mentor.data.scenes import Scene, SceneObject

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus


@dataclass(frozen=True)
class Rendered:
    """A drawn scene with its ground truth."""

    image: Image.Image
    """RGB, size x size pixels."""
    masks: list[NDArray[np.bool_]]
    """For each object [size, size]: where it covers at least half of the pixel."""
    boxes: list[tuple[int, int, int, int]]
    """For each object the (left, top, right, bottom) of its mask in pixels, right and bottom exclusive."""


def render(scene: Scene, corpus: Corpus, size: int) -> Rendered:
    """Draw a scene at ``size`` x ``size`` pixels."""
    catalog = catalog_of(corpus)
    image = draw_backdrop(scene.backdrop, catalog, size)
    masks, boxes = [], []
    for item in scene.objects:
        mask = _paste(image, item, catalog, size)
        masks.append(mask)
        boxes.append(box_of(mask))
    return Rendered(image, masks, boxes)


def render_alone(scene: Scene, corpus: Corpus, size: int, shown: Collection[int]) -> Image.Image:
    """Only the objects with the indices ``shown``, at their places, on black; RGB, size x size pixels."""
    image = Image.new("RGB", (size, size))
    catalog = catalog_of(corpus)
    for number in shown:
        _paste(image, scene.objects[number], catalog, size)
    return image


def object_picture(item: SceneObject, corpus: Corpus, size: int) -> tuple[Image.Image, tuple[int, int]]:
    """The object as it is pasted into a picture of ``size`` pixels: RGBA, and the (left, top) where it goes."""
    return _fit(catalog_of(corpus).picture(item.key), item, size)


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Bounding (left, top, right, bottom) of a mask, right and bottom exclusive; all zero when the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _fit(image: Image.Image, item: SceneObject, size: int) -> tuple[Image.Image, tuple[int, int]]:
    width, height = (max(1, round(share * size)) for share in item.extent)
    left, top = round(item.centre[0] * size - width / 2), round(item.centre[1] * size - height / 2)
    # Hamming has no negative lobes, so an opaque object stays opaque up to its edge.
    return image.resize((width, height), Image.Resampling.HAMMING), (left, top)


def _paste(image: Image.Image, item: SceneObject, catalog: Catalog, size: int) -> NDArray[np.bool_]:
    picture, (left, top) = _fit(catalog.picture(item.key), item, size)
    image.paste(picture, (left, top), picture)
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + picture.height, left : left + picture.width] = np.asarray(picture)[..., 3] >= 128
    return mask
