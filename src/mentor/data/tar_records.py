"""WebDataset shards: tar files in which the members of one sample share their name up to the first dot.

A sample's record is its ``json`` member, whose pictures are named by the rest of their name (``jpg``, ``mask.png``). A picture
and its ``txt`` are the pair ``image`` and ``text``, with the fields of a ``json`` beside them if there is one (img2dataset).
Where members lie is found once and kept beside each shard, so that any sample of any shard is read without those before it.
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

_PICTURES = ("jpg", "jpeg", "png", "webp")


class TarRecords:
    """The samples of all shards that match ``pattern``, in the order of the shards' names. ValueError if there are none."""

    def __init__(self, pattern: str) -> None:
        self.name = pattern
        base = Path(pattern).anchor or "."
        self.paths = sorted(Path(base).glob(str(Path(pattern).relative_to(base)) if Path(pattern).anchor else pattern))
        if not self.paths:
            raise ValueError(f"no shard matches {pattern}")
        self._members = [cached_array(path, "members", _find_members).reshape(-1, 2) for path in self.paths]
        starts = [np.flatnonzero(np.diff(members[:, 0], prepend=-1)) for members in self._members]
        self._bounds = [np.append(start, len(members)) for start, members in zip(starts, self._members, strict=True)]
        self._ends = np.cumsum([len(start) for start in starts])
        if not self._ends[-1]:
            raise ValueError(f"the shards {pattern} hold no samples")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def open(self, index: int) -> tuple[Any, ReadImage]:
        number = int(np.searchsorted(self._ends, index, side="right"))
        contents = self._read(number, index - (int(self._ends[number - 1]) if number else 0))
        return _record(contents), partial(_picture, contents)

    def derived(self, name: str, of: Callable[[Any], int]) -> NDArray[np.int64]:
        def of_shard(number: int) -> NDArray[np.int64]:
            return values_of(
                lambda place: _record(self._read(number, place, words=True)), range(len(self._bounds[number]) - 1), of
            )

        parts = [cached_array(path, name, lambda _, n=n: of_shard(n)) for n, path in enumerate(self.paths)]  # type: ignore[misc]
        return np.concatenate(parts)

    def _read(self, number: int, place: int, *, words: bool = False) -> dict[str, bytes]:
        """The members of sample ``place`` of shard ``number``; with ``words`` the pictures are empty."""
        first, last = (int(bound) for bound in self._bounds[number][place : place + 2])
        return _contents(self.paths[number], self._members[number][first:last, 1].tolist(), words)


def _find_members(path: Path) -> NDArray[np.int64]:
    """(sample, offset of the header) of every file in a tar; the members of a sample follow each other."""
    rows: list[tuple[int, int]] = []
    key, sample = None, -1
    try:
        with tarfile.open(path, mode="r:") as archive:
            for member in archive:
                if member.isfile():
                    found = _split(member.name)[0]
                    sample += found != key
                    key = found
                    rows.append((sample, member.offset))
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a readable tar file ({error})") from error
    return np.array(rows, np.int64).reshape(-1, 2)


def _contents(path: Path, offsets: list[int], words: bool) -> dict[str, bytes]:
    """Rest of the name -> bytes, of the members with headers at ``offsets``; with ``words`` of ``json`` and ``txt`` alone."""
    contents = {}
    try:
        with path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    member = archive.next()
                    held = archive.extractfile(member) if member is not None else None
                    if member is None or held is None:
                        raise BadRecord(f"{path.name}: no member at {offset}")
                    rest = _split(member.name)[1]
                    contents[rest] = held.read() if not words or rest in ("json", "txt") else b""
    except (OSError, tarfile.TarError) as error:
        raise BadRecord(f"{path.name}: cannot be read ({error})") from error
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
