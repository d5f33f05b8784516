"""A grid shows every picture once, in reading order."""

from __future__ import annotations

import pytest
from PIL import Image

from mentor.generation.grid import grid

COLOURS = ["red", "lime", "blue", "black", "yellow"]


@pytest.mark.parametrize(("count", "columns"), [(2, 2), (3, 2), (4, 2), (5, 3)])
def test_pictures_stand_in_reading_order(count: int, columns: int) -> None:
    pictures = [Image.new("RGB", (10, 6), colour) for colour in COLOURS[:count]]
    sheet = grid(pictures, gap=2)
    rows = -(-count // columns)
    assert sheet.size == (columns * 12 - 2, rows * 8 - 2)
    for index, picture in enumerate(pictures):
        left, top = index % columns * 12, index // columns * 8
        assert sheet.crop((left, top, left + 10, top + 6)).tobytes() == picture.tobytes()


def test_columns_can_be_chosen_and_one_picture_stays_as_it_is() -> None:
    pictures = [Image.new("RGB", (10, 6), colour) for colour in COLOURS]
    assert grid(pictures, columns=5, gap=0).size == (50, 6)
    assert grid(pictures[:1]) is pictures[0]
    with pytest.raises(ValueError, match="at least one"):
        grid([])
