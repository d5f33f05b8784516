"""A vision-language model that really looks: an endpoint that finds coloured shapes in the picture that it is sent."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mentor.vlm.client import open_jpeg
from tests.vlm.model_server import Answer

COLOURS = {"red square": (220, 30, 30), "blue disc": (30, 60, 220), "yellow bar": (240, 200, 30)}


def shapes(names: list[str], size: tuple[int, int] = (300, 200)) -> tuple[Image.Image, dict[str, NDArray[np.bool_]]]:
    """A picture of the named shapes on white, and the pixels of each."""
    places = {
        "red square": ("rectangle", (0.1, 0.2, 0.35, 0.6)),
        "blue disc": ("ellipse", (0.55, 0.4, 0.9, 0.9)),
        "yellow bar": ("rectangle", (0.2, 0.75, 0.45, 0.9)),
    }
    picture, truth = Image.new("RGB", size, "white"), {}
    for name in names:
        kind, box = places[name]
        corners = [share * length for share, length in zip(box, size * 2, strict=True)]
        getattr(ImageDraw.Draw(picture), kind)(corners, fill=COLOURS[name])
        mask = Image.new("1", size)
        getattr(ImageDraw.Draw(mask), kind)(corners, fill=1)
        truth[name] = np.asarray(mask)
    return picture, truth


def answer(number: int, body: dict[str, Any]) -> Answer:
    """Caption, names (with two that no mask should come of), and places in thousandths."""
    first = body["messages"][0]["content"]
    last = next(
        turn["content"]
        for turn in reversed(body["messages"])
        if not str(turn["content"]).startswith("That cannot be used") and turn["role"] == "user"
    )
    picture = open_jpeg(base64.b64decode(first[0]["image_url"]["url"].partition(",")[2]))
    words = last if isinstance(last, str) else last[1]["text"]
    seen = {name: box for name, colour in COLOURS.items() if (box := _box(picture, colour)) is not None}
    if words.startswith("Describe"):
        return Answer(f"Caption: A {' and a '.join(seen)} on a white ground.")
    if "JSON list" in words:
        return Answer(f"Here they are:\n```json\n{json.dumps([*seen, 'white sky', 'green cat'])}\n```")
    name = re.search(r'is "([^"]+)"', words)[1]  # type: ignore[index]
    if name not in seen:
        return Answer('{"box": null}')
    left, top, right, bottom = seen[name]
    centre = [(left + right) / 2, (top + bottom) / 2]
    return Answer(json.dumps({"box": [left, top, right, bottom], "points": [centre, [left - 50, top]]}))


def _box(picture: Image.Image, colour: tuple[int, int, int]) -> list[float] | None:
    near = np.linalg.norm(np.asarray(picture, dtype=float) - colour, axis=-1) < 60
    if near.sum() < 50:
        return None
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    width, height = picture.size
    return [
        round(1000 * columns[0] / width, 1),
        round(1000 * rows[0] / height, 1),
        round(1000 * (columns[-1] + 1) / width, 1),
        round(1000 * (rows[-1] + 1) / height, 1),
    ]
