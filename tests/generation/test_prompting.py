"""A user's words become exactly the prompts that the tasks train on."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from mentor.generation.prompting import build_prompt

ONE, TWO = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"text": "a fox"}, "a fox"),
        ({"text": "a fox", "images": ONE}, "The image is <image>\na fox"),
        ({"images": [ONE]}, "<image>\n"),
        ({"text": "a fox on snow", "images": [ONE], "subject": "fox"}, "The fox in <image>.\na fox on snow"),
        (
            {"text": "a fox with a hat", "images": [ONE, TWO], "subject": ["fox", "hat"]},
            "The fox in <image>.\nThe hat in <image>.\na fox with a hat",
        ),
        ({"images": [ONE], "subject": "fox", "task": "segment"}, "The fox in <image>."),
        ({"text": "fox", "images": [ONE], "task": "segment"}, "The fox in <image>."),
        ({"text": "<image> wears <image>", "images": [ONE, TWO]}, "<image> wears <image>"),
        ({"text": "see <image>", "images": [ONE], "task": "reconstruct"}, "see <image>"),
    ],
)
def test_templates(arguments: dict[str, Any], text: str) -> None:
    assert build_prompt(**arguments).text == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "empty"),
        ({"text": "  "}, "empty"),
        ({"text": "a", "images": [ONE, TWO]}, "reconstruct takes exactly one image, got 2"),
        ({"text": "a", "task": "paint"}, "unknown task 'paint'"),
        ({"text": "a <image>", "images": [ONE], "task": "paint"}, "unknown task 'paint'"),
        ({"text": "a <image>", "images": [ONE], "task": "text_to_image"}, "text_to_image takes no image, got 1"),
        ({"text": None, "images": [ONE]}, "the text as str, got NoneType"),
        ({"text": "a", "images": [ONE], "subject": [3]}, r"subject: expected a name, .*got \[3\]"),
        ({"text": "a", "images": [ONE], "subject": 3}, "subject: expected a name, .*got 3"),
        ({"text": "a", "images": [ONE], "subject": "f\udcffx"}, "write it in UTF-8"),
        ({"text": "a", "task": "segment"}, "segment takes exactly one image, got 0"),
        ({"images": [ONE], "task": "segment"}, "one subject for each image, got 0"),
        ({"text": "a", "images": [ONE], "subject": "fox", "task": "segment"}, "leave out the text 'a'"),
        ({"text": "a", "images": [ONE], "subject": ["fox", "hat"]}, "got 2 subject.s. for 1 image"),
        ({"text": "a", "images": [ONE], "subject": " "}, "expected the name"),
        ({"text": "a", "images": [ONE], "subject": "fox", "task": "reconstruct"}, "names no subject"),
        ({"text": "a", "subject": "fox", "task": "text_to_image"}, "names no subject"),
        ({"text": "a <image>", "images": [ONE], "subject": "fox"}, "marks <image> itself"),
        ({"text": "a <image>", "images": [ONE, TWO]}, "marks 1 image.* but 2 were given"),
        ({"text": "<image> <image>", "images": [ONE]}, "marks 2 image.* but 1 were given"),
    ],
)
def test_parts_that_do_not_fit_together(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_prompt(**arguments)
