"""Cut-outs in other colours, so that a subject's picture cannot be known by heart: its colours must be read from the reference.

A few thousand cut-outs are soon memorised; what is asked for must not follow from what is recognised (docs/decisions.md).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import cos, pi, sin, sqrt

from PIL import Image

from mentor.data.colours import COLOURS
from mentor.data.corpus import Corpus, Cutout

TURNS = 11
"""Other colours that a cut-out is given, evenly around the circle."""


def turned(image: Image.Image, turn: float) -> Image.Image:
    """An RGBA picture with its hues turned by a share of the colour circle; greys, and alpha, stay as they are."""
    colours = image.convert("RGB").convert("RGB", _matrix(turn))
    colours.putalpha(image.getchannel("A"))
    return colours


@cache
def _matrix(turn: float) -> tuple[float, ...]:
    """A turn of the RGB cube around its diagonal from black to white, as Pillow takes it: three rows of four."""
    cosine, sine = cos(2 * pi * turn), sin(2 * pi * turn)
    along, across = (1 - cosine) / 3, sine / sqrt(3)
    same, after, before = cosine + along, along - across, along + across
    return (same, after, before, 0, before, same, after, 0, after, before, same, 0)


def recoloured(corpus: Corpus) -> Corpus:
    """The corpus with every cut-out in ``TURNS`` other colours in place of its own: each an individual of its own, whose
    pictures are turned alike. Cut-outs whose names tell a colour are left out.
    """
    plain = [cutout for cutout in corpus.cutouts if not COLOURS.keys() & set(cutout.subject.split())]
    cutouts = [_with(cutout, number) for cutout in plain for number in range(1, TURNS + 1)]
    return Corpus(cutouts, corpus.backgrounds)


def _with(cutout: Cutout, number: int) -> Cutout:
    return replace(
        cutout,
        key=f"{cutout.key}~{number}",
        identity=f"{cutout.identity}~{number}",
        turn=number / (TURNS + 1),
        image=vars(cutout)["image"],  # as it is held: not decoded
    )
