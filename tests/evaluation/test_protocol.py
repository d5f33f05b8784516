from __future__ import annotations

from pathlib import Path

import pytest

from mentor.evaluation.protocol import Source


def test_the_checksum_knows_names_and_contents_but_not_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    before = Source(tmp_path).checksum()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x").write_text("hidden")
    assert Source(tmp_path).checksum() == before and len(before) == 64
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    renamed = Source(tmp_path).checksum()
    (tmp_path / "c.txt").write_text("three")
    assert len({before, renamed, Source(tmp_path).checksum()}) == 3


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "captions").mkdir()
    assert Source(tmp_path).file("captions") == tmp_path / "captions"
    with pytest.raises(ValueError, match="expected images/a.jpg in it"):
        Source(tmp_path).file("images", "a.jpg")
