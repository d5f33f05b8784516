"""What counts as a cut-out, and that its transparency survives storage."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mentor.construction.corpora.images import background, cut_out, encode_webp


def disc(canvas: int = 256, box: tuple[int, int, int, int] = (60, 80, 190, 210)) -> Image.Image:
    image = Image.new("RGBA", (canvas, canvas), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse(box, fill=(200, 30, 30, 255))
    return image


def test_the_crop_is_tight_and_the_longest_side_is_128() -> None:
    image = cut_out(disc(box=(10, 100, 240, 160)))
    assert image is not None
    assert image.mode == "RGBA"
    assert image.width == 128
    assert image.height == pytest.approx(128 * 63 / 233, abs=1)
    alpha = np.asarray(image.getchannel("A"))
    rows, columns = np.flatnonzero(alpha.max(1) > 128), np.flatnonzero(alpha.max(0) > 128)
    assert rows[0] <= 2
    assert rows[-1] >= image.height - 3
    assert columns[0] <= 2
    assert columns[-1] >= image.width - 3


def test_a_drawing_that_touches_the_edge_gets_a_transparent_border() -> None:
    image = cut_out(disc(box=(0, 0, 255, 255)))
    assert image is not None
    assert image.size == (128, 128)
    alpha = np.asarray(image.getchannel("A"))
    # A pixel of border before shrinking by two leaves the outermost row half covered.
    assert max(edge.max() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])) < 150


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGBA", (256, 256), (0, 0, 0, 0)),
        Image.new("RGBA", (256, 256), (9, 9, 9, 255)),
        Image.new("RGB", (256, 256), (9, 9, 9)),
        disc(box=(100, 100, 120, 120)),
    ],
    ids=["empty", "full", "no alpha", "tiny"],
)
def test_what_is_no_cut_out_is_dropped(picture: Image.Image) -> None:
    assert cut_out(picture) is None


def test_scattered_specks_are_dropped() -> None:
    image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    for corner in ((0, 0), (255, 0), (0, 255), (255, 255)):
        image.putpixel(corner, (255, 255, 255, 255))
    assert cut_out(image) is None


def test_webp_keeps_alpha_exactly_and_colour_closely() -> None:
    image = cut_out(disc())
    assert image is not None
    stored = Image.open(io.BytesIO(encode_webp(image)))
    assert np.array_equal(np.asarray(stored.getchannel("A")), np.asarray(image.getchannel("A")))
    solid = np.asarray(image.getchannel("A")) == 255
    difference = np.asarray(stored.convert("RGB"), int)[solid] - np.asarray(image.convert("RGB"), int)[solid]
    assert np.abs(difference).mean() < 6


def test_a_background_has_its_short_side_at_256() -> None:
    assert background(Image.new("RGB", (1000, 400))).size == (640, 256)
    assert background(Image.new("L", (100, 300))).size == (256, 768)
