from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.evaluation.folders import crop_then_resize, picture_files, resize_then_crop


def test_pictures_are_found_sorted_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in ("b.jpg", "sub/a.PNG", ".hidden/c.jpg", ".d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert [path.relative_to(tmp_path).as_posix() for path in picture_files(tmp_path)] == ["b.jpg", "sub/a.PNG"]


def test_folders_without_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none"):
        picture_files(tmp_path)
    with pytest.raises(ValueError, match="not there"):
        picture_files(tmp_path / "missing")


def test_both_ways_to_a_square_keep_the_middle() -> None:
    wide = Image.new("RGB", (30, 10))
    wide.paste((90, 90, 90), (10, 0, 20, 10))
    tall = wide.transpose(Image.Transpose.ROTATE_90)
    for way in (crop_then_resize, resize_then_crop):
        for picture in (wide, tall):
            assert np.asarray(way(picture, 10, Image.Resampling.BILINEAR)).min() == 90
            assert way(picture, 20, Image.Resampling.LANCZOS).size == (20, 20)
            assert way(picture, 4, Image.Resampling.LANCZOS).size == (4, 4)
