"""Metadata survives the way through a file, in any language, and nothing half-written is ever seen."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mentor.config.sampling import GenerationSettings
from mentor.generation.png_metadata import check_writable, how_made, png_bytes, read_metadata, write_pngs

RED = Image.new("RGB", (8, 8), "red")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.text(), seed=st.integers(0, 2**63 - 1), scale=st.floats(1, 100))
def test_what_is_written_is_read_back(tmp_path: Path, prompt: str, seed: int, scale: float) -> None:
    metadata = {"prompt": prompt, "seeds": [seed], "cfg_scale": scale}
    write_pngs([(tmp_path / "a.png", RED, metadata)])
    assert read_metadata(tmp_path / "a.png") == metadata


def test_what_a_picture_is_made_with_is_kept() -> None:
    made = how_made("mini", "a fox", [], GenerationSettings(top_k=np.int64(5)), torch.bfloat16, "cpu", [3])
    assert made | {"dtype": "bfloat16", "device": "cpu", "seeds": [3], "top_k": 5} == made
    assert "cfg_interval" not in made
    assert (
        how_made("mini", "a fox", [], GenerationSettings(cfg_interval=7), "float32", "cuda", [3])["cfg_interval"] == 7
    )
    assert json.loads(json.dumps(made)) == made


def test_an_older_file_is_replaced_and_no_temporary_stays(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    write_pngs([(tmp_path / name, RED, {"name": name}) for name in ("a.png", "b.png")])
    assert {path.name: read_metadata(path)["name"] for path in tmp_path.iterdir()} == {
        "a.png": "a.png",
        "b.png": "b.png",
    }


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "é" * 125 + ".PNG"])
def test_the_longest_names_that_there_are_can_be_written(tmp_path: Path, name: str) -> None:
    check_writable([tmp_path / name])
    write_pngs([(tmp_path / name, RED, {"name": name})])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read_metadata(tmp_path / name) == {"name": name}


def test_a_sheet_of_any_size_is_read_back(tmp_path: Path) -> None:
    """A thousand pictures of 512 px are more pixels than Pillow opens; here their size stands in the header alone."""
    content = png_bytes(RED, {"seeds": list(range(1000))})
    header = b"IHDR" + struct.pack(">II", 16508, 16508) + content[24:29]
    (tmp_path / "sheet.png").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "sheet.png")
    assert read_metadata(tmp_path / "sheet.png") == {"seeds": list(range(1000))}


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    check_writable([tmp_path / "new.png", tmp_path / "old.png"])
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old.png", b"old")]


@pytest.mark.parametrize("name", ["a.jpg", "a", "none/a.png", "folder.png", "file.txt/a.png", "a" * 300 + ".png"])
def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(ValueError, match=str(tmp_path)):
        check_writable([tmp_path / "good.png", tmp_path / name])


@pytest.mark.parametrize("text", ["[1, 2]", "{", ""])
def test_another_programs_text_is_not_taken_for_ours(tmp_path: Path, text: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    chunks.add_text("mentor", text)
    RED.save(tmp_path / "a.png", pnginfo=chunks)
    with pytest.raises(ValueError, match="a.png"):
        read_metadata(tmp_path / "a.png")
