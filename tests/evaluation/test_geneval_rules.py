"""Hand-made scenes for each of the six tasks, seen by a detector that is told what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mentor.evaluation.detectors import Detection
from mentor.evaluation.geneval_rules import check_metadata, failure_of, kept, relations

SIDE = 100
PICTURE = Image.new("RGB", (SIDE, SIDE))


def thing(label: str, x: int, y: int, score: float = 0.95, extent: int = 20) -> Detection:
    box = (x - extent / 2, y - extent / 2, x + extent / 2, y + extent / 2)
    return Detection(label, score, box, np.ones((SIDE, SIDE), dtype=bool))


def asked(label: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {"class": label, "count": count, **more}


def scene(tag: str, include: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    metadata = {"tag": tag, "include": include, "prompt": "a photo", **more}
    check_metadata(metadata)
    return metadata


class Namer:
    name = "by place"

    def __init__(self, **colours: str) -> None:
        self.colours = colours

    def __call__(self, picture: Image.Image, objects: Sequence[Detection], label: str) -> list[str]:
        return [self.colours[label.replace(" ", "_")]] * len(objects)


def judge(found: list[Detection], metadata: dict[str, Any], **colours: str) -> str | None:
    return failure_of(PICTURE, found, metadata, Namer(**colours))


def test_single_object() -> None:
    metadata = scene("single_object", [asked("bench")])
    assert judge([thing("bench", 50, 50, 0.31), thing("dog", 10, 10)], metadata) is None
    assert judge([thing("bench", 50, 50, 0.3)], metadata) == "expected 1 x bench, found 0"
    assert judge([thing("dog", 50, 50)], metadata) == "expected 1 x bench, found 0"


def test_two_objects() -> None:
    metadata = scene("two_object", [asked("bench"), asked("dog")])
    assert judge([thing("dog", 20, 20), thing("bench", 70, 70)], metadata) is None
    assert judge([thing("bench", 20, 20), thing("bench", 70, 70)], metadata) == "expected 1 x dog, found 0"


def test_counting_asks_for_certainty_and_for_no_more() -> None:
    metadata = scene("counting", [asked("dog", 2)], exclude=[asked("dog", 3)])
    two = [thing("dog", 20, 50), thing("dog", 80, 50)]
    assert judge(two, metadata) is None
    assert judge([*two, thing("dog", 50, 50, 0.89)], metadata) is None
    assert judge([*two, thing("dog", 50, 50, 0.91)], metadata) == "expected fewer than 3 x dog, found 3"
    assert judge([two[0], thing("dog", 80, 50, 0.9)], metadata) == "expected 2 x dog, found 1"


def test_colors() -> None:
    metadata = scene("colors", [asked("dog", color="red")])
    assert judge([thing("dog", 50, 50)], metadata, dog="red") is None
    assert judge([thing("dog", 50, 50)], metadata, dog="blue") == "expected dog to be red, found blue"


def test_color_attribution() -> None:
    metadata = scene("color_attr", [asked("dog", color="red"), asked("wine glass", color="blue")])
    both = [thing("dog", 20, 50), thing("wine glass", 80, 50)]
    assert judge(both, metadata, dog="red", wine_glass="blue") is None
    assert judge(both, metadata, dog="blue", wine_glass="red") == "expected dog to be red, found blue"


@pytest.mark.parametrize(
    ("relation", "place"), [("left of", (15, 50)), ("right of", (85, 50)), ("above", (50, 15)), ("below", (50, 85))]
)
def test_position(relation: str, place: tuple[int, int]) -> None:
    metadata = scene("position", [asked("bench"), asked("dog", position=[relation, 0])])
    assert judge([thing("bench", 50, 50), thing("dog", *place)], metadata) is None
    opposite = (100 - place[0], 100 - place[1])
    assert judge([thing("bench", 50, 50), thing("dog", *opposite)], metadata) == f"expected dog {relation} bench"
    assert judge([thing("dog", *place)], metadata) == "expected 1 x bench, found 0"


def test_only_the_surest_objects_are_looked_at() -> None:
    """One dog is asked for: its place is that of the dog with the highest score, whatever others there are."""
    metadata = scene("position", [asked("bench"), asked("dog", position=["left of", 0])])
    bench, left, right = thing("bench", 50, 50), thing("dog", 15, 50, 0.6), thing("dog", 85, 50, 0.8)
    assert judge([bench, left, right], metadata) == "expected dog left of bench"
    assert judge([bench, thing("dog", 15, 50, 0.9), right], metadata) is None


def test_relations_of_known_boxes() -> None:
    """By hand: centres 30 apart, both 20 wide: 30 - 0.1 * 40 = 26 of 30 is left; 4 apart is no relation."""
    box = (40.0, 40.0, 60.0, 60.0)
    assert relations((10, 40, 30, 60), box) == {"left of"}
    assert relations((10, 10, 30, 30), box) == {"left of", "above"}
    assert relations((44, 40, 64, 60), box) == set()
    assert relations(box, box) == set()
    # Far to the right and a little lower: only the longer axis keeps more than half.
    assert relations((80, 50, 100, 70), box) == {"right of"}


@given(*(st.integers(0, 80) for _ in range(4)), st.integers(1, 20))
def test_relations_are_mirrored(x: int, y: int, a: int, b: int, extent: int) -> None:
    one, two = (x, y, x + extent, y + extent), (a, b, a + extent, b + extent)
    turned = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    assert {turned[name] for name in relations(one, two)} == relations(two, one)


def test_at_most_sixteen_of_a_class_are_kept() -> None:
    many = [thing("dog", n, n, 0.5 + n / 100) for n in range(20)]
    found = kept(many, 0.3)["dog"]
    assert [each.score for each in found] == [0.5 + n / 100 for n in range(19, 3, -1)]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([], "an object with a prompt"),
        ({"prompt": "x", "tag": "zoo"}, "expected a tag of single_object"),
        ({"prompt": "x", "tag": "colors", "include": []}, "a list `include`"),
        ({"prompt": "x", "tag": "colors", "include": [{"class": "dog", "count": 0}]}, "a class and a count"),
        ({"prompt": "x", "tag": "colors", "include": [asked("dog", color="gray")]}, "unknown colour 'gray'"),
        ({"prompt": "x", "tag": "position", "include": [asked("dog", position=["above", 0])]}, "an earlier clause"),
    ],
)
def test_metadata_of_another_kind_is_refused(metadata: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_metadata(metadata)
