"""Squares of pictures of every shape; the numbers are in tests/parity/test_preprocess.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mentor.data.squares import centre_square, padded_square, squash


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64))
def test_every_shape_becomes_a_square_of_its_own_colour(width: int, height: int, side: int) -> None:
    image = Image.new("RGB", (width, height), (250, 30, 7))
    for square in (squash(image, side), centre_square(image, side)):
        assert square.size == (side, side)
        assert np.asarray(square).reshape(-1, 3).tolist() == [[250, 30, 7]] * side**2


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_strip_takes_no_gigabytes(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    made, resize, new = [], Image.Image.resize, Image.new
    monkeypatch.setattr(Image.Image, "resize", lambda im, size, *a, **k: made.append(size) or resize(im, size, *a, **k))
    monkeypatch.setattr(Image, "new", lambda mode, size, *a: made.append(size) or new(mode, size, *a))
    strip = new("RGB", size, "red")
    assert centre_square(strip, 64).getpixel((32, 32)) == (255, 0, 0)
    assert squash(padded_square(strip), 64).size == (64, 64)
    assert strip.size == size
    assert max(width * height for width, height in made) <= 2048**2


def test_the_centre_is_kept_and_the_rest_cut_off() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (80, 0, 220, 100))
    assert np.asarray(centre_square(image, 10)).reshape(-1, 3).tolist() == [[0, 0, 255]] * 100
    assert {tuple(pixel) for pixel in np.asarray(squash(image, 3)).reshape(-1, 3).tolist()} != {(0, 0, 255)}
