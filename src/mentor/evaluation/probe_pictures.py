"""The pictures of the vision probe: what the model is shown as references, with the subject marked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data.corpus import Corpus, Cutout
from mentor.data.images import to_rgb
from mentor.data.processor import fit_square
from mentor.data.render import render
from mentor.data.scenes import sample_scene

SIDE = 160
"""Pixels on the side of a picture; the probe scales it to each candidate's input."""


@dataclass(frozen=True)
class Picture:
    """An RGB picture, square, and where its subject is (bool [side, side])."""

    image: Image.Image
    subject: NDArray[np.bool_]
    category: str | None = None
    """What kind of thing is shown; None for a scene, which may show several."""


def pictures_of(corpus: Corpus, count: int, seed: int) -> list[Picture]:
    """``count`` pictures of one split: cut-outs on white, and as many rendered scenes."""
    rng = np.random.default_rng(seed)
    drawn = round(count / 2)
    chosen = rng.permutation(len(corpus.cutouts))[: count - drawn]
    return [_alone(corpus.cutouts[int(number)]) for number in chosen] + [_scene(corpus, rng) for _ in range(drawn)]


def _alone(cutout: Cutout) -> Picture:
    # fit_square would lay the mask on white, so the mask goes through it inverted.
    outside = fit_square(to_rgb(cutout.image.convert("RGBA").getchannel("A").point(lambda alpha: 255 - alpha)), SIDE)
    return Picture(fit_square(to_rgb(cutout.image), SIDE), np.asarray(outside)[..., 0] < 128, cutout.category)


def _scene(corpus: Corpus, rng: np.random.Generator) -> Picture:
    rendered = render(sample_scene(corpus, rng), corpus, SIDE)
    return Picture(rendered.image, np.any(rendered.masks, axis=0))
