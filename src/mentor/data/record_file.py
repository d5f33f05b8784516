"""Random access to the records of a jsonl file, or of a json file that holds one list, however large.

Where each record begins and ends is found once and kept in a file beside, or in the user's cache folder where that cannot be
written. It is used as long as the data's size and time of change are those it was made from.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor.data.example import BadRecord
from mentor.data.waiting import told_when_slow
from mentor.files import whole

_BLOCK = 1 << 24
_MAPPED = 1 << 20
_VERSION = 1


class RecordFile:
    """The records of a file by number. ValueError if it cannot be read or holds none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with told_when_slow(f"finding the records of {self.path}, once"):
            self._spans = cached_array(self.path, "spans", _find_spans).reshape(-1, 2)
        if not len(self._spans):
            raise ValueError(f"{self.path} holds no records")
        self._handle: int | None = None

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: int) -> Any:
        """Record ``index``; ``BadRecord`` if it is not valid JSON."""
        start, end = (int(value) for value in self._spans[index])
        if self._handle is None:
            self._handle = os.open(self.path, os.O_RDONLY)
        try:
            return json.loads(os.pread(self._handle, end - start, start))
        except ValueError as error:
            raise BadRecord(f"not valid JSON ({error})") from error

    def __getstate__(self) -> dict[str, Any]:
        # An open file cannot be sent to worker processes; each opens its own.
        return self.__dict__ | {"_handle": None}

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            os.close(self._handle)  # type: ignore[arg-type]


def cached_array(path: Path, name: str, make: Callable[[Path], NDArray[np.int64]]) -> NDArray[np.int64]:
    """``make(path)``, a flat int64 array that follows from a file's contents, kept on disk while the file is unchanged.

    A large one is mapped into memory, which keeps its file open. ValueError if ``path`` cannot be read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    stamp = [_VERSION, status.st_size, status.st_mtime_ns]
    places = (path.with_name(f"{path.name}.{name}.npy"), _in_cache(path, name))
    for place in places:
        held = _load(place, stamp)
        if held is not None:
            return held
    values: NDArray[np.int64] = np.concatenate([np.array(stamp, np.int64), np.asarray(make(path), np.int64).ravel()])
    for place in places:
        if _store(place, values):
            break
    return values[len(stamp) :]


def _store(place: Path, values: NDArray[np.int64]) -> bool:
    """Whether it could be written: not into a read-only folder or on a full disk."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with whole(place) as partial, partial.open("wb") as file:
            np.save(file, values)
    except OSError:
        return False
    return True


def _load(place: Path, stamp: list[int]) -> NDArray[np.int64] | None:
    try:
        held: NDArray[np.int64] = np.load(place, mmap_mode="r" if place.stat().st_size > _MAPPED else None)
    except (OSError, ValueError, EOFError) as error:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise  # too many open files: to make it again would not help
        return None
    fits = held.dtype == np.int64 and held.ndim == 1 and held[: len(stamp)].tolist() == stamp
    return held[len(stamp) :] if fits else None


def _in_cache(path: Path, name: str) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return base / "mentor" / "indexes" / f"{path.stem}-{key}.{name}.npy"


def _find_spans(path: Path) -> NDArray[np.int64]:
    with path.open("rb") as file:
        first = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    return _list_spans(path) if first == b"[" else _line_spans(path)


def _line_spans(path: Path) -> NDArray[np.int64]:
    """Start and end of every line that is not blank."""
    ends, offset = [], 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            ends.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + offset)
            offset += len(block)
    stops = np.concatenate([*ends, [offset]]).astype(np.int64)
    starts = np.concatenate([[0], stops[:-1] + 1])
    kept = stops > starts
    with path.open("rb") as file:
        for number in np.flatnonzero(kept & (stops - starts <= 2)):  # a carriage return, or what is left of a record
            file.seek(starts[number])
            kept[number] = bool(file.read(int(stops[number] - starts[number])).strip())
    return np.stack((starts[kept], stops[kept]), axis=1)


def _list_spans(path: Path) -> NDArray[np.int64]:
    """Start and end of every element of the list that a json file holds."""
    decoder, spans = json.JSONDecoder(), []
    try:
        text = path.read_bytes().decode()  # as it lies there: reading it as text would shorten line ends
        place = text.index("[") + 1
        offset = len(text[:place].encode())
        while True:
            gap = place
            while text[place] in " \t\r\n,":
                place += 1
            if text[place] == "]":
                break
            start = offset + len(text[gap:place].encode())
            _, end = decoder.raw_decode(text, place)
            offset = start + len(text[place:end].encode())
            spans.append((start, offset))
            place = end
    except (ValueError, IndexError, OSError) as error:
        raise ValueError(f"{path} is not a readable json list ({error})") from error
    return np.array(spans, np.int64).reshape(-1, 2)
