"""Draws a scene at any resolution, with the exact mask of every object."""

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


def render(scene: Scene, corpus: Corpus, size: int) -> Rendered:
    """Draw a scene at ``size`` x ``size`` pixels."""
    catalog = catalog_of(corpus)
    image = draw_backdrop(scene.backdrop, catalog, size)
    return Rendered(image, [_paste(image, item, catalog, size) for item in scene.objects])


def render_alone(scene: Scene, corpus: Corpus, size: int, shown: Collection[int]) -> Image.Image:
    """Only the objects with the indices ``shown``, at their places, on black; RGB, size x size pixels."""
    image = Image.new("RGB", (size, size))
    catalog = catalog_of(corpus)
    for number in shown:
        _paste(image, scene.objects[number], catalog, size)
    return image


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
