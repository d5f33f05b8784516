"""Backgrounds are chosen by the licence that a package's copyright file grants each file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.construction.corpora.wallpapers import parse_copyright, wallpaper_entries
from tests.construction.packages import write_package

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: 16.04/free.jpg
Copyright: Ada Lovelace, 2018
License: CC-BY-4.0

Files: 16.04/shared.jpg
Copyright: 2018. Grace Hopper
License: CC-BY-SA-4.0

Files: 16.04/given.jpg
 16.04/given_too.jpg
Copyright: Trevor "T", 2018
License: CC0-1.0

Files: debian/*
Copyright: 2022, Somebody
License: Expat

License: CC0-1.0
 Long text.
"""


def test_a_copyright_file_tells_author_and_licence_of_each_file() -> None:
    assert parse_copyright(COPYRIGHT) == {
        "free.jpg": ("Ada Lovelace", "CC-BY-4.0"),
        "shared.jpg": ("Grace Hopper", "CC-BY-SA-4.0"),
        "given.jpg": ("Trevor T", "CC0-1.0"),
        "given_too.jpg": ("Trevor T", "CC0-1.0"),
    }


def test_only_pictures_with_a_fitting_licence_of_their_own_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((300, 600, 3), (30, 90, 200), np.uint8)).save(stream, "JPEG")
    name = "lomiri-wallpapers-16.04"
    pictures = ("free", "shared", "given", "unmentioned")
    files = {f"./usr/share/backgrounds/{picture}.jpg": stream.getvalue() for picture in pictures}
    files[f"./usr/share/doc/{name}/copyright"] = COPYRIGHT.encode()
    write_package(tmp_path, name, files, monkeypatch)
    made = {e.meta["key"]: e for e in wallpaper_entries(name, ("CC0-1.0", "CC-BY-4.0"), tmp_path, map)}
    assert set(made) == {"backgrounds/free", "backgrounds/given"}
    assert made["backgrounds/free"].meta["author"] == "Ada Lovelace"
    image = Image.open(io.BytesIO(made["backgrounds/free"].webp))
    assert image.size == (512, 256)
    assert np.abs(np.asarray(image).astype(int).mean((0, 1)) - (30, 90, 200)).max() < 4
