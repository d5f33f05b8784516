"""WebDataset shards: tar files in which the members of one sample share their name up to the first dot.

A sample's record is its ``json`` member, whose pictures are named by the rest of their name (``jpg``, ``mask.png``). A picture
and its ``txt`` are the pair ``image`` and ``text``, with the fields of a ``json`` beside them if there is one (img2dataset).
Where samples begin is found once and kept beside each shard, so that any sample of any shard is read without those before it.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data.example import BadRecord, ReadImage
from mentor.data.images import decode_image
from mentor.data.record_file import cached_array
from mentor.data.records import values_of
from mentor.data.shard_patterns import shard_paths
from mentor.data.waiting import told_when_slow

_PICTURES = ("jpg", "jpeg", "png", "webp")


class TarRecords:
    """The samples of all shards that match ``pattern`` (``shard_paths``), in the order of the shards' names.

    ValueError if there are none. A sample costs 8 bytes of memory, a shard no open file.
    """

    named = False

    def __init__(self, pattern: str) -> None:
        self.name = pattern
        self.paths = shard_paths(pattern)
        with told_when_slow(f"finding the samples in {len(self.paths):,} shards {pattern}, once"):
            # Copies: a map would keep its file open, and there may be more shards than files may be.
            bounds = [np.array(cached_array(path, "samples", _find_samples)) for path in self.paths]
        self._bounds = np.concatenate(bounds)
        self._ends = np.cumsum([len(each) - 1 for each in bounds])
        if not self._ends[-1]:
            raise ValueError(f"the shards {pattern} hold no samples")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def open(self, index: int) -> tuple[Any, ReadImage]:
        contents = self._read(index)
        return _record(contents), partial(_picture, contents)

    def derived(self, name: str, of: Callable[[Any], int]) -> NDArray[np.int64]:
        def of_shard(number: int) -> NDArray[np.int64]:
            indexes = range(int(self._ends[number - 1]) if number else 0, int(self._ends[number]))
            return values_of(lambda index: _record(self._read(index, words=True)), indexes, of)

        with told_when_slow(f"reading the {name} of {len(self):,} records of {self.name}, once"):
            parts = [
                np.array(cached_array(path, name, lambda _, n=number: of_shard(n)))  # type: ignore[misc]
                for number, path in enumerate(self.paths)
            ]
        return np.concatenate(parts)

    def _read(self, index: int, *, words: bool = False) -> dict[str, bytes]:
        """The members of sample ``index``; with ``words`` the pictures are empty."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        # Every shard before has one bound more than samples.
        first, end = (int(bound) for bound in self._bounds[index + number : index + number + 2])
        return _contents(self.paths[number], first, end, words)


def _find_samples(path: Path) -> NDArray[np.int64]:
    """Where the members of each sample begin in a tar, which follow each other, and where those of the last one end."""
    bounds: list[int] = []
    key = None
    try:
        with tarfile.open(path, mode="r:") as archive:
            for member in archive:
                if member.isfile():
                    found = _split(member.name)[0]
                    if found != key:
                        bounds.append(member.offset)
                    key = found
            bounds.append(archive.offset)
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a readable tar file ({error})") from error
    return np.array(bounds, np.int64)


def _contents(path: Path, first: int, end: int, words: bool) -> dict[str, bytes]:
    """Rest of the name -> bytes, of the files with headers from ``first`` to ``end``; with ``words`` pictures are empty."""
    contents = {}
    try:
        with path.open("rb") as file:
            file.seek(first)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                while (member := archive.next()) is not None and member.offset < end:
                    held = archive.extractfile(member) if member.isfile() else None
                    if held is not None:
                        rest = _split(member.name)[1]
                        contents[rest] = held.read() if not words or rest in ("json", "txt") else b""
    except (OSError, tarfile.TarError) as error:
        raise BadRecord(f"{path.name}: cannot be read ({error})") from error
    if not contents:
        raise BadRecord(f"{path.name}: no member at {first}")
    return contents


def _record(contents: dict[str, bytes]) -> Any:
    picture = next((name for name in contents if name.lower() in _PICTURES), None)
    pair = {"image": picture, "text": contents.get("txt", b"").decode("utf-8", errors="replace")}
    if "json" not in contents:
        return pair
    try:
        record = json.loads(contents["json"])
    except ValueError as error:
        raise BadRecord(f"json: not valid JSON ({error})") from error
    # img2dataset writes all three, and its json only describes the picture.
    return pair | record if isinstance(record, dict) and "txt" in contents else record


def _picture(contents: dict[str, bytes], name: str, *, mask: bool = False) -> Image.Image:
    if name not in contents:
        raise BadRecord(f"{name}: the sample has no such member, only {', '.join(contents)}")
    try:
        return decode_image(contents[name], mask=mask)
    except ValueError as error:
        raise BadRecord(f"{name}: {error}") from error


def _split(name: str) -> tuple[str, str]:
    """A member's name up to the first dot after the last slash, and the rest."""
    folder, slash, file = name.rpartition("/")
    key, _, rest = file.partition(".")
    return folder + slash + key, rest
