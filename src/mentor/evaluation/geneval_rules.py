"""GenEval's rules: does what a detector found in a picture fulfil what the prompt asks for?

Written from the benchmark's description; thresholds and the order of the checks are those of its published evaluator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mentor.evaluation.detectors import COLOURS, ColourNamer, Detection

TASKS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
THRESHOLD, COUNTING_THRESHOLD = 0.3, 0.9
"""An object counts when its score is above; counting asks for certainty."""
MOST = 16
"""Objects of one class that are looked at, the surest first."""
POSITION_SLACK = 0.1
"""Share of both objects' extents by which centres must differ before one is beside the other."""
RELATIONS = ("left of", "right of", "above", "below")


def check_metadata(metadata: Any) -> None:
    """Raise ``ValueError`` unless this is a line of GenEval's evaluation_metadata.jsonl."""
    if not isinstance(metadata, dict) or not isinstance(metadata.get("prompt"), str):
        raise ValueError("expected an object with a prompt")
    if metadata.get("tag") not in TASKS:
        raise ValueError(f"expected a tag of {', '.join(TASKS)}, got {metadata.get('tag')!r}")
    include = metadata.get("include")
    if not isinstance(include, list) or not include:
        raise ValueError("expected a list `include` of what the picture must show")
    for number, asked in enumerate([*include, *metadata.get("exclude", [])]):
        if not isinstance(asked, dict) or not isinstance(asked.get("class"), str) or not _count(asked.get("count")):
            raise ValueError(f"expected a class and a count in every clause, got {asked!r}")
        if asked.get("color", COLOURS[0]) not in COLOURS:
            raise ValueError(f"unknown colour {asked['color']!r}; known: {', '.join(COLOURS)}")
        if "position" in asked:
            relation, target = asked["position"]
            if relation not in RELATIONS or not 0 <= target < number:
                raise ValueError(f"expected a position as [{' | '.join(RELATIONS)}, number of an earlier clause]")


def failure_of(
    picture: Image.Image, found: Sequence[Detection], metadata: Mapping[str, Any], namer: ColourNamer
) -> str | None:
    """Why the picture does not show what is asked, or None when it does.

    Of each class only as many objects as asked are looked at, the surest first; all included clauses must hold and no
    excluded one.
    """
    objects = kept(found, COUNTING_THRESHOLD if metadata["tag"] == "counting" else THRESHOLD)
    chosen: list[list[Detection]] = []
    for asked in metadata["include"]:
        label, count = asked["class"], asked["count"]
        candidates = objects[label][:count]
        chosen.append(candidates)
        if len(candidates) < count:
            return f"expected {count} x {label}, found {len(candidates)}"
        if "color" in asked:
            colours = namer(picture, candidates, label)
            if colours.count(asked["color"]) < count:
                return f"expected {label} to be {asked['color']}, found {', '.join(colours)}"
        if "position" in asked:
            relation, target = asked["position"]
            for one in candidates:
                for other in chosen[target]:
                    if relation not in relations(one.box, other.box):
                        return f"expected {label} {relation} {other.label}"
    for barred in metadata.get("exclude", []):
        if len(objects[barred["class"]]) >= barred["count"]:
            return f"expected fewer than {barred['count']} x {barred['class']}, found {len(objects[barred['class']])}"
    return None


def kept(found: Sequence[Detection], threshold: float) -> defaultdict[str, list[Detection]]:
    """The objects above the threshold by label, the surest first, at most ``MOST`` of each."""
    objects: defaultdict[str, list[Detection]] = defaultdict(list)
    for each in sorted(found, key=lambda detection: -detection.score):
        if each.score > threshold and len(objects[each.label]) < MOST:
            objects[each.label].append(each)
    return objects


def relations(one: Sequence[float], other: Sequence[float]) -> set[str]:
    """Where the first box (left, top, right, bottom) lies as seen from the second; two words for a diagonal, none for near.

    The offset of the centres is shortened by ``POSITION_SLACK`` of both extents, then taken relative to its full length: a
    relation holds when its axis keeps more than half of it.
    """
    first, second = np.reshape(one, (2, 2)).astype(float), np.reshape(other, (2, 2)).astype(float)
    offset = first.mean(axis=0) - second.mean(axis=0)
    slack = POSITION_SLACK * (np.abs(first[1] - first[0]) + np.abs(second[1] - second[0]))
    left_over = np.sign(offset) * np.maximum(np.abs(offset) - slack, 0)
    if (np.abs(left_over) < 1e-3).all():
        return set()
    x, y = left_over / np.linalg.norm(offset)
    holds = (x < -0.5, x > 0.5, y < -0.5, y > 0.5)
    return {name for name, true in zip(RELATIONS, holds, strict=True) if true}


def _count(value: Any) -> bool:
    return isinstance(value, int) and value > 0
