"""X2I, LLaVA and plain pairs: prompts, order of images, examples in the context, broken records."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from mentor.config.sources import LlavaOptions, PairsOptions, X2IOptions
from mentor.data.caption_formats import llava_example, pair_example
from mentor.data.example import BadRecord, Example
from mentor.data.x2i_format import x2i_example

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250), "grey": (90, 90, 90)}


def _read(name: str, *, mask: bool = False) -> Image.Image:
    if name not in COLOURS:
        raise BadRecord(f"{name}: there is no such file")
    return Image.new("RGB", (40, 40), COLOURS[name])


def _names(example: Example) -> list[str]:
    by_colour = {colour: name for name, colour in COLOURS.items()}
    return [by_colour[image.getpixel((16, 16))] for image in (*example.prompt.images, example.target)]


X2I = {
    "task_type": "subject_driven",
    "instruction": "Put <img><|image_2|></img> beside <img><|image_1|></img>.",
    "input_images": ["red", "green"],
    "output_image": "blue",
}


def _x2i(record: Any, **options: Any) -> Example:
    return x2i_example(record, _read, size=32, options=X2IOptions(**options))


def test_x2i_images_follow_their_marks() -> None:
    example = _x2i(X2I)
    assert example.task == "interleaved"
    assert example.prompt.text == "Put <image> beside <image>."
    assert _names(example) == ["green", "red", "blue"]
    named = {key: value for key, value in X2I.items() if key != "output_image"} | {"output_images": ["grey"]}
    assert _names(_x2i(named))[-1] == "grey"


def test_solved_records_come_first() -> None:
    record = {"instruction": "Segment <|image_1|>", "input_images": ["red"], "output_image": "blue"}
    other = {"instruction": "Segment <|image_1|>", "input_images": ["green"], "output_image": "grey"}
    example = x2i_example(record, _read, size=32, options=X2IOptions(examples=1), solved=[(other, _read)])
    assert example.prompt.text == "Segment <image>\nThe image is <image>\nSegment <image>"
    assert _names(example) == ["green", "grey", "red", "blue"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"instruction": None}, "instruction: missing"),
        ({"instruction": "Put <img><|image_1|></img>"}, r"marks images \[1\], input_images has 2"),
        ({"input_images": ["red"]}, r"marks images \[2, 1\], input_images has 1"),
        ({"input_images": "red"}, "expected a list of names"),
        ({"input_images": ["red", "absent"]}, "absent: there is no such file"),
        ({"output_image": None}, "output_image: expected a name, got None"),
    ],
)
def test_broken_x2i(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        _x2i(X2I | change)


def test_too_many_images() -> None:
    with pytest.raises(BadRecord, match="2 images, at most 1"):
        _x2i(X2I, max_images=1)


LLAVA = {
    "id": "GCC_1",
    "image": "red",
    "conversations": [
        {"from": "human", "value": "Give a brief description of this.\n<image>"},
        {"from": "gpt", "value": "a red square "},
    ],
}


def test_llava_asks_and_answers() -> None:
    example = llava_example(LLAVA, _read, 0, size=32, options=LlavaOptions())
    assert example.prompt.text == "Give a brief description of this.\n<image>"
    assert (example.answer, example.task) == ("a red square", "caption")
    drawn = llava_example(LLAVA, _read, 0, size=32, options=LlavaOptions(answers=False))
    assert (drawn.prompt.text, drawn.task, drawn.answer) == ("The image is <image>\na red square", "reconstruct", "")
    assert _names(drawn) == ["red", "red"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": 3}, "image: missing"),
        ({"image": "absent"}, "no such file"),
        ({"conversations": LLAVA["conversations"][:1]}, "expected a human's question"),
        ({"conversations": LLAVA["conversations"][::-1]}, "expected a human's question"),
        ({"conversations": [{"from": "human", "value": "no image"}, LLAVA["conversations"][1]]}, "expected one image"),
        ({"conversations": "text"}, "expected a list of turns"),
    ],
)
def test_broken_llava(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        llava_example(LLAVA | change, _read, 0, size=32, options=LlavaOptions())


def test_pairs() -> None:
    record = {"image": "green", "text": "a green <image> square"}
    example = pair_example(record, _read, 0, size=32, options=PairsOptions())
    assert (example.prompt.text, example.task, _names(example)) == ("a green  square", "text_to_image", ["green"])
    again = pair_example(record, _read, 0, size=32, options=PairsOptions(task="reconstruct"))
    assert (again.prompt.text, _names(again)) == ("The image is <image>\na green  square", ["green", "green"])
    silent = [pair_example(record, _read, s, size=32, options=PairsOptions("reconstruct", 0.5)) for s in range(200)]
    assert 70 < sum(example.prompt.text == "<image>\n" for example in silent) < 130
    for broken in ({"image": "green"}, {"text": "a"}, {"image": "green", "text": " "}, 7):
        with pytest.raises(BadRecord):
            pair_example(broken, _read, 0, size=32, options=PairsOptions())
