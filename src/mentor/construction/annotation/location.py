"""Where an object is (appendix D, spatial grounding): the question to the vision-language model, and what its answer says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Units = Literal["thousandths", "pixels"]
"""How the model counts: in thousandths of the sides (Qwen3-VL, InternVL) or in pixels of what it sees (Qwen2.5-VL)."""

# Not box_2d: Gemini's, which has the vertical number first.
_BOXES = ("box", "bbox", "bbox_2d", "bounding_box")
_POINTS = ("points", "keypoints", "point_2d", "points_2d")
_SLACK = 0.02
"""Numbers this share of a side outside the picture are taken for its edge; farther out, the units are wrong."""


@dataclass(frozen=True)
class Location:
    """A tight box and points on the object itself, as shares of the picture's width and height, 0 to 1."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    points: tuple[tuple[float, float], ...] = ()

    def on(self, pixels: NDArray[np.bool_]) -> float | None:
        """Share of the points that lie on a mask, bool [H, W]; None without points."""
        height, width = pixels.shape
        hits = [pixels[min(height - 1, int(y * height)), min(width - 1, int(x * width))] for x, y in self.points]
        return float(np.mean(hits)) if hits else None


def location_request(name: str, size: tuple[int, int], units: Units) -> str:
    """The words that ask for one object in a picture of ``size`` (width, height)."""
    counted = (
        "thousandths of the picture's width and height, from 0 to 1000"
        if units == "thousandths"
        else f"pixels of the picture, which is {size[0]} wide and {size[1]} high"
    )
    return (
        f'Where in the picture is "{name}"? Answer with JSON alone: '
        '{"box": [left, top, right, bottom], "points": [[x, y], [x, y], [x, y]]}. '
        f"Numbers are {counted}, counted from the upper left corner. The box is tight. The points lie on the object "
        'itself, not on what surrounds or covers it, and far apart. If it is not in the picture, answer {"box": null}.'
    )


def parse_location(text: str, size: tuple[int, int], units: Units) -> Location | None:
    """What an answer says; None where it says that the object is not there.

    Points that cannot be, or lie outside the box, are left out. Raises ``ValueError`` for an answer without a box, or with one
    that cannot be.
    """
    values = list(_json_values(text))
    found = next(filter(None, map(_with_box, values)), None)
    if found is None:
        if values == [[]]:
            return None
        raise ValueError("the answer has no box")
    box = next(found[key] for key in _BOXES if key in found)
    if box is None or box == []:
        return None
    if isinstance(box, list) and len(box) == 1:
        box = box[0]
    scale = (1000.0, 1000.0) if units == "thousandths" else (float(size[0]), float(size[1]))
    left, top, right, bottom = _shares(box, 4, scale * 2)
    if right - left <= 0 or bottom - top <= 0:
        raise ValueError(f"the box {box} has no area")
    points = []
    for told in _points(found):
        try:
            x, y = _shares(told, 2, scale)
        except ValueError:
            continue
        if left <= x <= right and top <= y <= bottom:
            points.append((x, y))
    return Location((left, top, right, bottom), tuple(points))


def _with_box(value: Any) -> dict[str, Any] | None:
    """The first object that has a box, at most two lists or objects deep in another value."""
    level = [value]
    for _ in range(3):
        for each in level:
            if isinstance(each, dict) and any(key in each for key in _BOXES):
                return each
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [item for each in inner for item in each]
    return None


def _points(found: dict[str, Any]) -> list[Any]:
    told = next((found[name] for name in _POINTS if name in found), None)
    if not isinstance(told, list):
        return []
    points = told if all(isinstance(each, list | dict) for each in told) else [told]
    return [[each.get("x"), each.get("y")] if isinstance(each, dict) else each for each in points]


def _json_values(text: str) -> Iterator[Any]:
    """Every JSON object or list in a text, fenced or among words, outermost first."""
    decoder, place = json.JSONDecoder(), 0
    while (starts := [at for at in (text.find("{", place), text.find("[", place)) if at >= 0]) != []:
        place = min(starts)
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place += 1
        else:
            yield value
            place = end


def _shares(numbers: Any, count: int, scale: tuple[float, ...]) -> tuple[float, ...]:
    if not isinstance(numbers, list) or len(numbers) != count:
        raise ValueError(f"expected {count} numbers, got {str(numbers)[:100]}")
    shares = []
    for number, side in zip(numbers, scale, strict=True):
        # Before the division: a number of hundreds of digits is no float.
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= 1e6:
            raise ValueError(f"expected {count} numbers, got {str(numbers)[:100]}")
        share = number / side
        if not -_SLACK <= share <= 1 + _SLACK:
            raise ValueError(f"{numbers} lies outside the picture; the model may count in other units")
        shares.append(min(1.0, max(0.0, share)))
    return tuple(shares)
