"""OmniGen's X2I records: an instruction that names its images, the images, and the picture they should become."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from mentor.config.sources import X2IOptions
from mentor.data.example import BadRecord, Example, ReadImage, checked_prompt
from mentor.data.squares import centre_square, padded_square, squash
from mentor.prompt import IMAGE_PLACEHOLDER

_MARK = re.compile(r"(?:<img>\s*)?<\|image_(\d+)\|>(?:\s*</img>)?")


def x2i_example(
    record: Any,
    read: ReadImage,
    *,
    size: int,
    options: X2IOptions,
    solved: Sequence[tuple[Any, ReadImage]] = (),
) -> Example:
    """The sample that a record makes; ``solved`` records come first in the prompt, each with its answer (in context).

    Pictures become ``size`` pixels. ``BadRecord`` for a record that cannot be used.
    """
    lines: list[str] = []
    images: list[Image.Image] = []
    for example, read_other in solved:
        words, shown = _question(example, read_other, size)
        lines += [words, f"The image is {IMAGE_PLACEHOLDER}"]
        images += [*shown, _picture(output_name(example), read_other, size)]
    words, shown = _question(record, read, size)
    images += shown
    if len(images) > options.max_images:
        raise BadRecord(f"{len(images)} images, at most {options.max_images} are taken")
    prompt = checked_prompt("\n".join([*lines, words]), images)
    return Example(prompt, centre_square(read(output_name(record)), size), "interleaved")


def _question(record: Any, read: ReadImage, size: int) -> tuple[str, list[Image.Image]]:
    """The instruction with a mark for each image, and the images in the order of their marks."""
    if not isinstance(record, dict) or not isinstance(record.get("instruction"), str):
        raise BadRecord("instruction: missing")
    names = record.get("input_images") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRecord(f"input_images: expected a list of names, got {names!r}")
    instruction = record["instruction"].replace(IMAGE_PLACEHOLDER, "")
    order = [int(number) - 1 for number in _MARK.findall(instruction)]
    if not all(0 <= place < len(names) for place in order) or set(order) != set(range(len(names))):
        raise BadRecord(f"instruction: marks images {[place + 1 for place in order]}, input_images has {len(names)}")
    return _MARK.sub(IMAGE_PLACEHOLDER, instruction).strip(), [_picture(names[place], read, size) for place in order]


def output_name(record: Any) -> str:
    """The name of the picture that a record draws; ``BadRecord`` if it has none."""
    if not isinstance(record, dict):
        raise BadRecord(f"expected an object with fields, got {type(record).__name__}")
    # The data and OmniGen's code say output_image, OmniGen's documentation output_images.
    name = record.get("output_image") or record.get("output_images")
    if isinstance(name, list) and len(name) == 1:
        name = name[0]
    if not isinstance(name, str):
        raise BadRecord(f"output_image: expected a name, got {name!r}")
    return name


def _picture(name: str, read: ReadImage, size: int) -> Image.Image:
    return squash(padded_square(read(name)), size)
