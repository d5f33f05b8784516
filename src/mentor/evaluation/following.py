"""Prompt following: which of the things a caption asks for are in the picture, by the checker's reading of it.

A caption always names the background, the number of objects and their sizes; the place of one object, the arrangement of
two copies, and a second object where the scene has them. Three copies have no place in the caption, so none is scored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from mentor.data.scenes import Scene, SceneObject
from mentor.evaluation.checker import Found, Parsed

ATTRIBUTES = ("background", "number", "position", "size", "second")


def asked(scene: Scene) -> tuple[str, ...]:
    """Names of the attributes that the scene's caption asks for, in the order of ``ATTRIBUTES``."""
    three = scene.kind == "copies" and len(scene.objects) == 3
    left_out = {"position"} if three else set()
    if scene.kind != "pair":
        left_out.add("second")
    return tuple(name for name in ATTRIBUTES if name not in left_out)


def match(scene: Scene, parsed: Parsed) -> list[Found | None]:
    """For each object of the scene the found one that stands for it: one to one, least total distance of centres."""
    found = parsed.objects
    if not found:
        return [None] * len(scene.objects)
    wanted = np.array([item.centre for item in scene.objects])
    there = np.array([each.centre for each in found])
    rows, columns = linear_sum_assignment(np.linalg.norm(wanted[:, None] - there[None], axis=-1))
    pairs = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    return [found[pairs[number]] if number in pairs else None for number in range(len(wanted))]


def follow(
    scene: Scene, first: int, parsed: Parsed, matched: Sequence[Found | None], second_looks_right: bool
) -> dict[str, float]:
    """Score in [0, 1] of every attribute that is asked for.

    Args:
        scene: what was asked for; ``first`` is the index of the object that the first reference shows.
        parsed: the checker's reading of the picture; ``matched`` what ``match`` made of it.
        second_looks_right: whether the object found for the second subject looks like it (see ``Judge``).

    ``background``: kind and every colour name. ``number``: exact. ``position``: the first object's grid cell, or for two
    copies whether they stand side by side or one above the other. ``size``: share of the objects whose size class is right.
    ``second``: an object stands in the second one's cell and looks like it.
    """
    backdrop = scene.backdrop
    scores: dict[str, float] = {
        "background": (parsed.ground.kind, parsed.ground.colours) == (backdrop.kind, backdrop.colours),
        "number": len(parsed.objects) == len(scene.objects),
        "position": _arranged(scene, parsed)
        if scene.kind == "copies"
        else _in_place(scene.objects[first], matched[first]),
        "size": _sized(scene, matched),
        "second": False,
    }
    if scene.kind == "pair":
        other = second(scene, first)
        scores["second"] = second_looks_right and _in_place(scene.objects[other], matched[other])
    return {name: float(scores[name]) for name in asked(scene)}


def second(scene: Scene, first: int) -> int:
    """Index of the object of a pair that is not ``first``."""
    assert scene.kind == "pair"
    return 1 - first


def _sized(scene: Scene, matched: Sequence[Found | None]) -> float:
    right = [found is not None and found.size == item.size for item, found in zip(scene.objects, matched, strict=True)]
    return sum(right) / len(right)


def _in_place(item: SceneObject, found: Found | None) -> bool:
    return found is not None and found.position == item.position


def _arranged(scene: Scene, parsed: Parsed) -> bool:
    """Whether two found objects are beside or above each other as the scene's two copies are."""
    if len(parsed.objects) != 2 or len(scene.objects) != 2:
        return False
    across = [
        _lies_across(*(item.centre for item in scene.objects)),
        _lies_across(*(item.centre for item in parsed.objects)),
    ]
    return across[0] == across[1]


def _lies_across(one: tuple[float, float], two: tuple[float, float]) -> bool:
    return abs(one[0] - two[0]) > abs(one[1] - two[1])
