"""How alike two pictures of a subject are, by features that the model is not conditioned on (concept preservation).

A subject is cut out of its picture, put on neutral gray and scaled to one size. Two things are then compared: what the
ST-LPIPS trunk sees (pooled maps, freed of what all subjects have in common) and the distribution of colours.

B subjects in a batch, F numbers in a trunk vector, C colour bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from mentor.data.colours import lab
from mentor.data.pixels import picture_pixels

if TYPE_CHECKING:
    from mentor.models.perceptual import STLPIPS

CROP = 64
"""Side in pixels at which subjects are compared."""
SUBJECT = 56
"""Longest side of the subject inside the crop."""
GRAY = (128, 128, 128)
CELLS = (1, 2)
"""Each of the trunk's maps is averaged over the whole crop and over its quarters."""
COLOUR_WEIGHT = 0.4
"""Share of the colour term in the similarity."""


@dataclass(frozen=True)
class Described:
    """Features of B subjects: unit trunk vectors [B, F] and square-rooted colour histograms [B, C]."""

    trunk: NDArray[np.float32]
    colour: NDArray[np.float32]

    def __getitem__(self, index: Sequence[int] | NDArray[np.integer]) -> Described:
        return Described(self.trunk[index], self.colour[index])


def subject_crop(picture: Image.Image, mask: NDArray[np.bool_] | None = None) -> Image.Image:
    """The masked part of a picture, scaled to ``SUBJECT`` pixels, in the middle of a gray square of ``CROP`` pixels.

    The mask ([height, width], true on the subject) is the picture's own alpha when left out. An empty mask gives plain gray.
    """
    if mask is None:
        alpha = picture.getchannel("A")
    else:
        alpha = Image.fromarray(mask.astype(np.uint8) * 255)
    canvas = Image.new("RGB", (CROP, CROP), GRAY)
    box = alpha.point(lambda value: 255 if value >= 128 else 0).getbbox()
    if box is None:
        return canvas
    subject = Image.composite(picture.convert("RGB"), Image.new("RGB", picture.size, GRAY), alpha).crop(box)
    scale = SUBJECT / max(subject.size)
    size = (max(1, round(subject.width * scale)), max(1, round(subject.height * scale)))
    canvas.paste(subject.resize(size, Image.Resampling.BICUBIC), ((CROP - size[0]) // 2, (CROP - size[1]) // 2))
    return canvas


class SubjectFeatures:
    """Describes and compares subject crops.

    ``trunk`` is ST-LPIPS's network, of which only the maps are used; ``common`` are crops of many other subjects
    (training ones), whose statistics are taken out of every trunk vector. Raises ``ValueError`` for fewer than two.
    """

    def __init__(self, trunk: STLPIPS, common: Sequence[Image.Image]) -> None:
        if len(common) < 2:
            raise ValueError(
                f"expected at least 2 crops to learn the common part of all subjects from, got {len(common)}"
            )
        self._trunk = trunk
        vectors = self._vectors(common)
        self._mean = vectors.mean(axis=0)
        self._scale = 1 / (vectors.std(axis=0) + 0.1 * vectors.std())

    def describe(self, crops: Sequence[Image.Image]) -> Described:
        """Features of subject crops, each RGB and ``CROP`` pixels square."""
        trunk = (self._vectors(crops) - self._mean) * self._scale
        trunk /= np.linalg.norm(trunk, axis=1, keepdims=True) + 1e-9
        return Described(trunk.astype(np.float32), np.stack([_histogram(crop) for crop in crops]).astype(np.float32))

    @torch.inference_mode()
    def _vectors(self, crops: Sequence[Image.Image]) -> NDArray[np.float64]:
        rows = []
        for start in range(0, len(crops), 32):
            maps = self._trunk.features(picture_pixels(crops[start : start + 32]))
            pooled = []
            for each in maps:
                # Unit vectors at every place, as in LPIPS, so that strong edges do not drown the rest.
                unit = nn.functional.normalize(each, dim=1)
                pooled += [nn.functional.adaptive_avg_pool2d(unit, cells).flatten(1) / cells for cells in CELLS]
            rows.append(torch.cat(pooled, dim=1).double().numpy())
        return np.concatenate(rows)


def similarity(one: Described, two: Described) -> NDArray[np.float64]:
    """Similarity of row i of ``one`` with row i of ``two``: float [B]; 1 for equal crops, about 0 for unrelated ones."""
    shape, colour = (one.trunk * two.trunk).sum(axis=1), (one.colour * two.colour).sum(axis=1)
    return _weigh(shape, colour)


def similarity_table(one: Described, two: Described) -> NDArray[np.float64]:
    """Similarity of every row of ``one`` with every row of ``two``: float [B, B']."""
    return _weigh(one.trunk @ two.trunk.T, one.colour @ two.colour.T)


def _weigh(shape: NDArray[np.float32], colour: NDArray[np.float32]) -> NDArray[np.float64]:
    return ((1 - COLOUR_WEIGHT) * shape + COLOUR_WEIGHT * colour).astype(np.float64)


_BINS = (6, 8, 8)
_LOW, _HIGH = np.array([0.0, -80.0, -80.0]), np.array([100.0, 80.0, 80.0])


def _histogram(crop: Image.Image) -> NDArray[np.float64]:
    """Square root of the crop's colour distribution in L*a*b*, gray surroundings left out: [C]."""
    pixels = np.asarray(crop)
    inside = (pixels != np.array(GRAY)).any(axis=-1)
    values = lab(pixels[inside])
    counts = np.zeros(_BINS)
    if len(values):
        places = np.clip((values - _LOW) / (_HIGH - _LOW), 0, 1) * (np.array(_BINS) - 1)
        lower = np.minimum(places.astype(int), np.array(_BINS) - 2)
        share = places - lower
        # Each pixel is shared between its eight neighbouring bins, so that a small change of colour is a small change.
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(np.array(corner) == 1, share, 1 - share).prod(axis=1)
            np.add.at(counts, tuple((lower + corner).T), weight)
        counts /= counts.sum()
    return np.sqrt(counts).ravel()
