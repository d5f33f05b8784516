"""Where an object is (appendix D, spatial grounding): the question to the vision-language model, and what its answer says."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Units = Literal["thousandths", "pixels"]
"""How the model counts: in thousandths of the sides (Qwen3-VL, InternVL, Gemini) or in pixels of what it sees (Qwen2.5-VL)."""

_BOXES = ("box", "bbox", "bbox_2d", "box_2d", "bounding_box")
_POINTS = ("points", "keypoints", "point_2d", "points_2d")
_SLACK = 0.02
"""Numbers this share of a side outside the picture are taken for its edge; farther out, the units are wrong."""


@dataclass(frozen=True)
class Location:
    """A tight box and points on the object itself, as shares of the picture's width and height, 0 to 1."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    points: tuple[tuple[float, float], ...] = ()


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

    Points outside the box are left out. Raises ``ValueError`` for an answer without a box, or with one that cannot be.
    """
    for found in _json_values(text):
        first = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else found
        if isinstance(first, dict) and (key := next((key for key in _BOXES if key in first), None)):
            break
    else:
        raise ValueError("the answer has no box")
    if first[key] is None or first[key] == []:
        return None
    scale = (1000.0, 1000.0) if units == "thousandths" else (float(size[0]), float(size[1]))
    left, top, right, bottom = _shares(first[key], 4, scale * 2)
    if right - left <= 0 or bottom - top <= 0:
        raise ValueError(f"the box {first[key]} has no area")
    told = next((first[name] for name in _POINTS if name in first), None) or []
    if not isinstance(told, list):
        raise ValueError(f"expected a list of points, got {told!r}")
    points = [_shares(point, 2, scale) for point in (told if all(isinstance(each, list) for each in told) else [told])]
    inside = tuple((x, y) for x, y in points if left <= x <= right and top <= y <= bottom)
    return Location((left, top, right, bottom), inside)


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
        raise ValueError(f"expected {count} numbers, got {numbers!r}")
    shares = []
    for number, side in zip(numbers, scale, strict=True):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"expected {count} numbers, got {numbers!r}")
        share = number / side
        if not -_SLACK <= share <= 1 + _SLACK:
            raise ValueError(f"{numbers} lies outside the picture; the model may count in other units")
        shares.append(min(1.0, max(0.0, share)))
    return tuple(shares)
