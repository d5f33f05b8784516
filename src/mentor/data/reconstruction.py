"""Held-out pictures that an image tokenizer is judged on: scenes of subjects and photos that training never shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mentor.data.render import render
from mentor.data.scenes import sample_scene

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus


@dataclass(frozen=True)
class HeldOutPicture:
    """One scene of the test split."""

    image: Image.Image
    """RGB, size x size pixels."""
    photo: bool
    """Whether the background is a photo, which is much harder to code than a plain colour or a gradient."""


def held_out_pictures(corpus: Corpus, *, count: int, seed: int, size: int) -> list[HeldOutPicture]:
    """``count`` scenes of ``corpus.split("test")`` at ``size`` pixels; picture i shows the same scene at every size.

    Raises ValueError if nothing is asked for or the corpus has no held-out cut-out.
    """
    if count < 1:
        raise ValueError(f"expected at least 1 held-out picture, got {count}")
    held_out = corpus.split("test")
    if not held_out.cutouts:
        raise ValueError(
            "the corpus has no held-out cut-outs (split 'test'); build it again with `mentor build-corpus`"
        )
    scenes = [sample_scene(held_out, np.random.default_rng((seed, index))) for index in range(count)]
    return [HeldOutPicture(render(scene, held_out, size).image, scene.backdrop.kind == "photo") for scene in scenes]
