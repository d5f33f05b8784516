"""What vision-language models say: captions, names and places are read, anything else is refused with a reason."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mentor.construction.annotation.annotator import for_model
from mentor.construction.annotation.description import parse_caption, parse_objects
from mentor.construction.annotation.location import Location, location_request, parse_location

SIZE = (400, 200)


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("A red fox sits on a rock.", "A red fox sits on a rock."),
        ('**Caption:** "A red fox\n sits on a rock."', "A red fox sits on a rock."),
        ("Description: A fox, in snow", "A fox, in snow"),
        ("Sure! Here is a description: A fox, in snow", "A fox, in snow"),
        ("A sign that reads: no dogs", "A sign that reads: no dogs"),
    ],
)
def test_captions(text: str, caption: str) -> None:
    assert parse_caption(text) == caption


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a sentence"),
        ("A fox.", "expected a sentence"),
        ("I'm sorry, but I can't help.", "refuses"),
        ("I cannot see the picture.", "refuses"),
        ("I\u2019m sorry, but I can\u2019t help with that.", "refuses"),
        ("Unfortunately, I cannot describe this image.", "refuses"),
        ("I'm not able to help with that.", "refuses"),
        ("A fox <in> the snow.", "plain words"),
        ("word " * 500, "at most 1000"),
    ],
)
def test_no_captions(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_caption(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('["dog", "red ball"]', ["dog", "red ball"]),
        ('Sure:\n```json\n["dog", "Dog", " red  ball. "]\n```', ["dog", "red ball"]),
        ('[1] is no list of names, this is: ["cat"]', ["cat"]),
        ('["blue sky", "grass", "oak tree"]', ["oak tree"]),
        (
            '["traffic light", "glass of water", "wall of bricks", "boat on the sea"]',
            ["traffic light", "glass of water", "boat on the sea"],
        ),
        ('["red \\ud83d square", "a\\u2028b", "cup"]', ["a b", "cup"]),
        ('["a thing with far too many words in it", "<image>", "", "cup"]', ["cup"]),
        ('["a", "b", "c", "d"]', ["a", "b", "c"]),
        ("[]", []),
    ],
)
def test_names(text: str, names: list[str]) -> None:
    assert parse_objects(text, 3) == names


@pytest.mark.parametrize("text", ["", "a dog and a ball", '{"objects": 3}', "[1, 2]", "[" * 5000])
def test_no_names(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON list"):
        parse_objects(text, 3)


@pytest.mark.parametrize(
    ("text", "units", "location"),
    [
        ('{"box": [100, 200, 500, 800]}', "thousandths", Location((0.1, 0.2, 0.5, 0.8))),
        (
            '```json\n[{"bbox_2d": [40, 40, 200, 160], "label": "fox", "point_2d": [100, 100]}]\n```',
            "pixels",
            Location((0.1, 0.2, 0.5, 0.8), ((0.25, 0.5),)),
        ),
        (
            'The fox: {"box": [100.5, 0, 1000, 1010], "points": [[200, 300], [50, 300], [900, 999]]} it is.',
            "thousandths",
            Location((0.1005, 0.0, 1.0, 1.0), ((0.2, 0.3), (0.9, 0.999))),
        ),
        ('{"note": 1} {"box": [0, 0, 10, 10], "points": null}', "thousandths", Location((0.0, 0.0, 0.01, 0.01))),
        ('{"box": null}', "thousandths", None),
        ("[]", "thousandths", None),
        ('{"objects": [{"bbox": [[100, 200, 500, 800]]}]}', "thousandths", Location((0.1, 0.2, 0.5, 0.8))),
        (
            '{"box": [0, 0, 500, 500], "points": [{"x": 100, "y": 200}, {"x": 4000, "y": 1}, [1, 2, 3]]}',
            "thousandths",
            Location((0.0, 0.0, 0.5, 0.5), ((0.1, 0.2),)),
        ),
        ('{"box": [0, 0, 10, 10], "points": "middle"}', "thousandths", Location((0.0, 0.0, 0.01, 0.01))),
    ],
)
def test_places(text: str, units: str, location: Location | None) -> None:
    assert parse_location(text, SIZE, units) == location  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("It is on the left.", "no box"),
        ("[1, 2, 3, 4]", "no box"),
        ('{"box": [1, 2, 3]}', "expected 4 numbers"),
        ('{"box": [1, 2, 3, true]}', "expected 4 numbers"),
        ('{"box": [1, 2, 3, "4"]}', "expected 4 numbers"),
        ('{"box": [1, 2, NaN, 4]}', "expected 4 numbers"),
        ('{"box": [500, 200, 100, 800]}', "no area"),
        ('{"box": [0, 0, 1400, 800]}', "other units"),
        ('{"box_2d": [100, 200, 500, 800]}', "no box"),
        (f'{{"box": [0, 0, 1{"0" * 400}, 10]}}', "expected 4 numbers"),
    ],
)
def test_no_places(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_location(text, SIZE, "thousandths")


@given(st.text() | st.from_regex(r'\{"box": \[[-0-9.e, ]*\]\}', fullmatch=True))
def test_any_text_is_understood_or_refused(text: str) -> None:
    for parse in (
        parse_caption,
        lambda said: parse_objects(said, 5),
        lambda said: parse_location(said, SIZE, "pixels"),
    ):
        with suppress(ValueError):
            parse(text)
    with suppress(ValueError):
        place = parse_location(text, SIZE, "thousandths")
        assert place is None or (0 <= place.box[0] < place.box[2] <= 1 and 0 <= place.box[1] < place.box[3] <= 1)


def test_the_request_says_how_to_count() -> None:
    assert "thousandths" in location_request("fox", SIZE, "thousandths")
    assert "400 wide and 200 high" in location_request("fox", SIZE, "pixels")


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_model_sees_pictures_that_it_need_not_resize(width: int, height: int) -> None:
    shown = for_model(Image.new("L", (width, height)))
    assert shown.mode == "RGB"
    assert all(side % 28 == 0 and 28 <= side <= 1008 for side in shown.size)
