"""Fixtures every test may use: a tiny corpus of drawn cut-outs, so that no test needs the real pack or a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from mentor.data.corpus import Background, Corpus, Cutout

SIDE = 128

# The same examples everywhere, and no deadline: machines are busy.
settings.register_profile("mentor", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("mentor")


def _shape(kind: str, colour: tuple[int, int, int], accent: tuple[int, int, int], squeeze: float) -> Image.Image:
    """One drawn subject, cropped, longest side 128 px; ``squeeze`` below 1 narrows it as another view would."""
    canvas = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    if kind == "round":
        draw.ellipse((20, 20, 236, 236), fill=colour)
        draw.rectangle((120, 20, 140, 90), fill=accent)
    elif kind == "car":
        draw.rounded_rectangle((10, 110, 246, 190), 20, fill=colour)
        draw.rectangle((70, 70, 190, 120), fill=colour)
        draw.ellipse((40, 160, 100, 220), fill=accent)
        draw.ellipse((160, 160, 220, 220), fill=accent)
    elif kind == "chair":
        draw.rectangle((40, 10, 80, 250), fill=colour)
        draw.rectangle((40, 120, 210, 160), fill=accent)
        draw.rectangle((180, 150, 210, 250), fill=colour)
    elif kind == "lamp":
        draw.polygon(((60, 110), (196, 110), (160, 10), (96, 10)), fill=colour)
        draw.rectangle((118, 110, 138, 240), fill=accent)
        draw.rectangle((80, 225, 176, 250), fill=accent)
    elif kind == "star":
        turn = np.arange(10) * np.pi / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2 == 0, 120, 55)
        draw.polygon(
            [(128 + r * np.cos(a), 128 + r * np.sin(a)) for r, a in zip(radius, turn, strict=True)], fill=colour
        )
        draw.ellipse((108, 108, 148, 148), fill=accent)
    else:
        raise ValueError(f"no such drawing: {kind}")
    canvas = canvas.resize((round(256 * squeeze), 256))
    canvas = canvas.crop(canvas.getbbox())
    scale = SIDE / max(canvas.size)
    return canvas.resize((max(1, round(canvas.width * scale)), max(1, round(canvas.height * scale))))


RGB = tuple[int, int, int]

# subject, noun, source, drawing, colour, accent, split, the styles of one family or the number of views of one model
_SUBJECTS: list[tuple[str, str, str, str, RGB, RGB, str, tuple[str, ...] | int]] = [
    ("red apple", "apple", "fluent", "round", (215, 40, 45), (90, 60, 30), "train", ("3d", "glossy", "flat")),
    ("blue car", "car", "fluent", "car", (50, 90, 220), (40, 40, 40), "train", ("3d", "flat")),
    ("wooden chair", "chair", "furniture", "chair", (130, 85, 45), (170, 120, 60), "train", 3),
    ("green lamp", "lamp", "furniture", "lamp", (60, 160, 80), (150, 150, 150), "train", 2),
    ("gold star", "star", "emoji", "star", (240, 200, 40), (230, 120, 30), "train", 1),
    ("purple ball", "ball", "emoji", "round", (130, 60, 180), (250, 250, 250), "train", 1),
    ("orange pumpkin", "pumpkin", "fluent", "round", (240, 130, 30), (60, 140, 60), "test", ("3d", "glossy", "flat")),
    ("pink armchair", "armchair", "furniture", "chair", (240, 140, 190), (200, 90, 140), "test", 3),
    ("silver star", "medal", "emoji", "star", (150, 150, 155), (60, 60, 70), "test", 1),
]


def _cutouts() -> list[Cutout]:
    from mentor.data.corpus import Cutout

    made: list[Cutout] = []
    for subject, noun, source, drawing, colour, accent, split, members in _SUBJECTS:
        # A family keeps the outline and changes the paint; a model keeps the paint and turns.
        family = isinstance(members, tuple)
        style = "drawn" if source == "emoji" else "rendered"
        styles = members if isinstance(members, tuple) else (style,) * members
        identity = f"{source}/{subject.replace(' ', '-')}"
        for number, style in enumerate(styles):
            squeeze = 1.0 if family else 1.0 - 0.2 * number
            brighter = 25 * number if family else 0
            red, green, blue = (min(255, channel + brighter) for channel in colour)
            made.append(
                Cutout(
                    key=identity if len(styles) == 1 else f"{identity}-{number}",
                    subject=subject,
                    noun=noun,
                    category="thing",
                    style=style,
                    source=source,
                    licence="CC0-1.0",
                    author="drawn by the tests",
                    identity=identity,
                    concept=noun,
                    view=0 if family else number,
                    split=split,
                    image=_shape(drawing, (red, green, blue), accent, squeeze),
                )
            )
    return made


def _background(key: str, split: str, seed: int) -> Background:
    from mentor.data.corpus import Background

    coarse = np.random.default_rng(seed).integers(40, 215, size=(6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((340, 256), Image.Resampling.BICUBIC)
    return Background(
        key=key, source="drawn", licence="CC0-1.0", author="drawn by the tests", split=split, image=picture
    )


@pytest.fixture(scope="session")
def tiny_corpus() -> Corpus:
    """19 drawn cut-outs of both splits: families of several styles, models of several views, single pictures."""
    from mentor.data.corpus import Corpus

    backgrounds = [
        _background("clouds", "train", 1),
        _background("meadow", "train", 2),
        _background("dunes", "test", 3),
    ]
    return Corpus(cutouts=sorted(_cutouts(), key=lambda cutout: cutout.key), backgrounds=backgrounds)
