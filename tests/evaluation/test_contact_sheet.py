from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mentor.evaluation.contact_sheet import Entry, contact_sheet

RED = Image.new("RGB", (16, 16), (250, 0, 0))
CLEAR = Image.new("RGBA", (8, 4), (0, 0, 0, 0))


def test_every_picture_is_on_the_sheet_and_a_title_adds_room() -> None:
    entries = [Entry((RED, CLEAR), ("reference", "generated"), "a red thing " * 30)] * 5
    plain, titled = (
        contact_sheet(entries, columns=2, cell=64),
        contact_sheet(entries, columns=2, cell=64, title="held out"),
    )
    pixels = np.asarray(plain).reshape(-1, 3)
    assert int((pixels == (250, 0, 0)).all(axis=1).sum()) == 5 * 64 * 64
    assert titled.width == plain.width and titled.height > plain.height


def test_caption_stays_inside_its_own_entry() -> None:
    long = Entry((Image.new("RGB", (8, 8), (255, 255, 255)),), ("",), "wwww " * 60)
    empty = Entry(long.pictures, ("",), "")
    both = np.asarray(contact_sheet([long, empty], columns=2, cell=128))
    half = both.shape[1] // 2
    assert (both[:, :half] < 128).any()
    assert (both[:, half:] == 255).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least one entry"):
        contact_sheet([])
    with pytest.raises(ValueError, match="heading for each of 1"):
        contact_sheet([Entry((RED,), (), "x")])
