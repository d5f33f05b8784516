"""Pixels: where black and white lie, the way back, and sheets."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from mentor.data.pixels import picture_pixels, pixel_grid, to_levels, to_pixels


def test_black_and_white_are_the_ends() -> None:
    image = Image.fromarray(np.array([[[0, 127, 255]]], dtype=np.uint8))
    torch.testing.assert_close(picture_pixels([image])[0].flatten(), torch.tensor([-1.0, -1 / 255, 1.0]))
    grey = picture_pixels([Image.new("L", (4, 2), 0), Image.new("L", (4, 2), 255)])
    assert grey.shape == (2, 3, 2, 4) and grey.dtype == torch.float32
    assert (grey[0] == -1).all() and (grey[1] == 1).all()


def test_every_level_comes_back_and_what_lies_outside_is_cut_off() -> None:
    levels = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    pixels = to_pixels(levels)
    assert pixels.shape == (3, 16, 16)
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert (to_levels(pixels.to(dtype)) == levels).all()
    assert to_levels(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1)).tolist() == [[[0, 128, 255]]]
    levels.flags.writeable = False  # as Pillow's are
    assert torch.equal(to_pixels(levels), pixels) and torch.equal(to_pixels(torch.from_numpy(levels.copy())), pixels)


def test_a_grid_shows_rows_below_each_other() -> None:
    pictures = [Image.new("RGB", (4, 4), (number * 40, 0, 0)) for number in range(6)]
    sheet = pixel_grid(picture_pixels(pictures).unflatten(0, (2, 3)))
    assert sheet.size == (12, 8)
    assert [sheet.getpixel((x, y))[0] for y in (1, 5) for x in (1, 5, 9)] == [0, 40, 80, 120, 160, 200]
