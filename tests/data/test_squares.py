"""Squares of pictures of every shape; the numbers are in tests/parity/test_preprocess.py."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mentor.data.squares import centre_square, squash


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64))
def test_every_shape_becomes_a_square_of_its_own_colour(width: int, height: int, side: int) -> None:
    image = Image.new("RGB", (width, height), (250, 30, 7))
    for square in (squash(image, side), centre_square(image, side)):
        assert square.size == (side, side)
        assert np.asarray(square).reshape(-1, 3).tolist() == [[250, 30, 7]] * side**2


def test_the_centre_is_kept_and_the_rest_cut_off() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (80, 0, 220, 100))
    assert np.asarray(centre_square(image, 10)).reshape(-1, 3).tolist() == [[0, 0, 255]] * 100
    assert {tuple(pixel) for pixel in np.asarray(squash(image, 3)).reshape(-1, 3).tolist()} != {(0, 0, 255)}
