"""Stamps: sentences become noun phrases, and drawings are told from photographs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.construction.corpora.stamps import is_photo, stamp_entries, subject_of
from tests.construction.packages import write_package


def stamp(colours: int, side: int = 96) -> Image.Image:
    """A disc of ``colours`` random colours on a transparent ground."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (colours, 3), dtype=np.uint8)[rng.integers(0, colours, (side, side))]
    rows, columns = np.mgrid[:side, :side] - side / 2
    alpha = np.where(rows**2 + columns**2 < (side / 2) ** 2, 255, 0).astype(np.uint8)
    return Image.fromarray(np.dstack([pixels, alpha]), "RGBA")


@pytest.mark.parametrize(
    ("sentence", "subject"),
    [
        ("A peacock (a male peafowl).", "peacock"),
        ("An Adelaide Rosella.", "adelaide rosella"),
        ("The Statue of Liberty.", "statue of liberty"),
        ("A pair of cherries.", "cherries"),
        ("Some people say that this is a very old tree.", ""),
        ("!", ""),
    ],
)
def test_subject_of(sentence: str, subject: str) -> None:
    assert subject_of(sentence) == subject


def test_photographs_have_many_colours_and_some_size() -> None:
    assert is_photo(stamp(2000))
    assert not is_photo(stamp(12))
    assert not is_photo(stamp(2000, side=40))


def test_photographs_with_a_sentence_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def png(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "PNG")
        return stream.getvalue()

    folder = "./usr/share/tuxpaint/stamps"
    photo = png(stamp(2000))
    files = {
        f"{folder}/animals/birds/duck.png": photo,
        f"{folder}/animals/birds/duck.txt": b"A wild duck.\nde=Eine Ente.\n",
        f"{folder}/animals/birds/silent.png": photo,
        f"{folder}/animals/birds/cartoon/goose.png": photo,
        f"{folder}/animals/birds/cartoon/goose.txt": b"A goose.\n",
        f"{folder}/food/drawn.png": png(stamp(12)),
        f"{folder}/food/drawn.txt": b"A pear.\n",
    }
    write_package(tmp_path, "tuxpaint-stamps-default", files, monkeypatch)
    (made,) = stamp_entries(tmp_path, map)
    assert made.meta["key"] == "stamps/animals-birds-duck"
    assert (made.meta["subject"], made.meta["noun"], made.meta["category"]) == ("wild duck", "duck", "animals")
    assert made.meta["licence"] == "GPL-2.0"
