"""Which picture a record draws, as a number: the same in every file that names it, whatever the format."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

from mentor.config.sources import PairsOptions, ReleasedOptions, X2IOptions
from mentor.data.record_numbers import LARGEST, target_numbers
from mentor.data.records import FolderRecords
from mentor.data.tar_records import TarRecords
from tests.data.released_folder import GOOD, write_lines


def test_the_target_of_every_task_and_format(tmp_path: Path) -> None:
    names = ["tall.png", "wide.png", "scene.png", "scene.png", "scene.png", "scene.png", "tall.png"]
    released = FolderRecords(write_lines(tmp_path / "released.jsonl", [*GOOD.values(), "{", {"objects": 7}]))
    pairs = FolderRecords(write_lines(tmp_path / "pairs.jsonl", [{"image": f"./x/../{name}"} for name in names]))
    x2i = FolderRecords(write_lines(tmp_path / "x2i.jsonl", [{"output_image": name} for name in names]))
    numbers = target_numbers(pairs, PairsOptions())
    assert len(set(numbers.tolist())) == 3
    assert target_numbers(released, ReleasedOptions()).tolist() == [*numbers.tolist(), LARGEST, LARGEST]
    assert np.array_equal(target_numbers(x2i, X2IOptions()), numbers)


def test_names_that_are_no_text_have_numbers_too(tmp_path: Path) -> None:
    records = [{"image": "\udce9.png"}, {"image": "\ud83d.png"}]
    numbers = target_numbers(FolderRecords(write_lines(tmp_path / "pairs.jsonl", records)), PairsOptions())
    assert len(set(numbers.tolist())) == 2 and LARGEST not in numbers


def test_pictures_in_shards_are_told_apart_by_their_places(tmp_path: Path) -> None:
    """Their names are alike: all are ``jpg``."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for number in range(40):
            for suffix in ("jpg", "txt"):
                archive.addfile(tarfile.TarInfo(f"{number:03d}.{suffix}"), io.BytesIO())
    numbers = target_numbers(TarRecords(str(tmp_path / "a.tar")), PairsOptions())
    assert len(set(numbers.tolist())) == 40
    assert np.array_equal(numbers, target_numbers(TarRecords(str(tmp_path / "a.tar")), ReleasedOptions()))
