"""Captions composed from a scene's facts: every one names the subjects, sizes, places, number and background."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mentor.data.backdrops import Backdrop
from mentor.data.scenes import Scene, SceneObject
from mentor.data.words import is_plural, plural, with_article

STYLE_SHARE = 0.5
"""How often a subject's style word is said when nothing demands it."""

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("medium",),
    "large": ("large", "large", "big", "huge"),
}
POSITION_WORDS: dict[str, tuple[str, ...]] = {
    "top left": ("at the top left", "in the top left corner", "at the upper left"),
    "top": ("at the top",),
    "top right": ("at the top right", "in the top right corner", "at the upper right"),
    "left": ("on the left", "at the left"),
    "center": ("in the center", "in the middle"),
    "right": ("on the right", "at the right"),
    "bottom left": ("at the bottom left", "in the bottom left corner", "at the lower left"),
    "bottom": ("at the bottom",),
    "bottom right": ("at the bottom right", "in the bottom right corner", "at the lower right"),
}
NUMBER_WORDS = {2: "two", 3: "three"}
ARRANGEMENTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("left", "right"): ("side by side", "next to each other"),
    ("top", "bottom"): ("one above the other",),
}


def caption(scene: Scene, rng: np.random.Generator, *, styled: Collection[str] = ()) -> str:
    """One sentence for a scene, at most about 24 word pieces.

    The style word of the subjects in ``styled`` is always said, that of the others by chance.
    """
    if scene.kind == "copies":
        what = _copies(scene.objects, rng, styled)
    else:
        what = " and ".join(_object(item, rng, styled, short=scene.kind == "pair") for item in scene.objects)
    where = _backdrop(scene.backdrop, rng)
    order = rng.random()
    if order < 0.75 or scene.kind == "pair":
        return f"{what} on {where}"
    return f"{where} with {what}" if order < 0.9 else f"on {where}, {what}"


def _name(item: SceneObject, rng: np.random.Generator, styled: Collection[str], share: float = STYLE_SHARE) -> str:
    said = rng.random() < share or item.subject in styled
    return f"{item.style} {item.subject}" if said and item.style else item.subject


def _object(item: SceneObject, rng: np.random.Generator, styled: Collection[str], *, short: bool) -> str:
    position = POSITION_WORDS[item.position][0] if short else _one(POSITION_WORDS[item.position], rng)
    phrase = f"{_one(SIZE_WORDS[item.size], rng)} {_name(item, rng, styled, STYLE_SHARE / 2 if short else STYLE_SHARE)}"
    return f"{with_article(phrase, is_plural(item.subject))} {position}"


def _copies(objects: Sequence[SceneObject], rng: np.random.Generator, styled: Collection[str]) -> str:
    first = objects[0]
    phrase = f"{NUMBER_WORDS[len(objects)]} {_one(SIZE_WORDS[first.size], rng)} {plural(_name(first, rng, styled))}"
    arrangement = ARRANGEMENTS.get(tuple(item.position for item in objects))
    return f"{phrase} {_one(arrangement, rng)}" if arrangement else phrase


def _backdrop(backdrop: Backdrop, rng: np.random.Generator) -> str:
    if backdrop.kind == "photo":
        return "a photo background"
    if backdrop.kind == "solid":
        return with_article(f"{backdrop.colours[0]} background", False)
    top, bottom = backdrop.colours
    if rng.random() < 0.7:
        return with_article(f"{top} to {bottom} gradient background", False)
    return f"a gradient from {top} to {bottom}"


def _one(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))] if len(options) > 1 else options[0]
