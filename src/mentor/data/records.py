"""Where records and their pictures lie: a file beside a folder of pictures, or a Hugging Face data set on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data.example import BadRecord, ReadImage
from mentor.data.images import load_image, to_mask, to_rgb
from mentor.data.record_file import RecordFile, cached_array
from mentor.data.waiting import told_when_slow


class Records(Protocol):
    """Records by number, each with a way to read its pictures."""

    name: str
    named: bool
    """Whether pictures are files, which several records may name; False: each record holds its own."""

    def __len__(self) -> int: ...

    def open(self, index: int) -> tuple[Any, ReadImage]:
        """Record ``index`` and what reads the pictures that it names; ``BadRecord`` if it is damaged."""
        ...

    def derived(self, name: str, of: Callable[[Any], int]) -> NDArray[np.int64]:
        """``of`` of every record, -1 for damaged ones, pictures unread; kept under ``name`` beside the data if possible."""
        ...


class FolderRecords:
    """A jsonl or json file whose pictures are files; their names are relative to ``root``, by default the file's folder."""

    named = True

    def __init__(self, path: str | Path, root: str | Path | None = None) -> None:
        self.file = RecordFile(path)
        self.name = str(path)
        self.root = Path(root) if root is not None else Path(path).parent

    def __len__(self) -> int:
        return len(self.file)

    def open(self, index: int) -> tuple[Any, ReadImage]:
        return self.file[index], self.read

    def derived(self, name: str, of: Callable[[Any], int]) -> NDArray[np.int64]:
        with told_when_slow(f"reading the {name} of {len(self):,} records of {self.name}, once"):
            return cached_array(self.file.path, name, lambda _: values_of(self.file.__getitem__, range(len(self)), of))

    def read(self, name: str, *, mask: bool = False) -> Image.Image:
        """A picture by its name, RGB or a mask; ``BadRecord`` if it is missing or damaged."""
        try:
            return load_image(self.root / name, mask=mask)
        except ValueError as error:
            raise BadRecord(str(error)) from error


class ArrowRecords:
    """A Hugging Face data set saved on disk: a row is a record, a column of pictures is named in their place.

    ValueError if the folder holds none, or the ``datasets`` package is not installed.
    """

    named = False

    def __init__(self, folder: str | Path) -> None:
        try:
            import datasets
        except ImportError as error:
            raise ValueError("a source of kind huggingface needs the datasets package: pip install datasets") from error
        try:
            self.rows = datasets.load_from_disk(str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder} is no data set saved with Dataset.save_to_disk ({error})") from error
        if isinstance(self.rows, Mapping):
            raise ValueError(f"{folder} holds the splits {', '.join(self.rows)}: give the folder of one of them")
        self.name = str(folder)
        self._state = Path(folder) / "state.json"  # which it has, and which is written anew with the data
        self._fingerprint = str(self.rows._fingerprint)

    def __len__(self) -> int:
        return len(self.rows)

    def open(self, index: int) -> tuple[Any, ReadImage]:
        pictures: dict[str, Image.Image] = {}
        return self._record(self.rows, index, pictures), partial(_picture, pictures)

    def derived(self, name: str, of: Callable[[Any], int]) -> NDArray[np.int64]:
        import datasets

        rows = self.rows
        for column, feature in rows.features.items():
            if isinstance(feature, datasets.Image):
                rows = rows.cast_column(column, datasets.Image(decode=False))
        with told_when_slow(f"reading the {name} of {len(self):,} records of {self.name}, once"):
            return cached_array(
                self._state,
                f"{name}-{self._fingerprint}",
                lambda _: values_of(lambda index: self._record(rows, index, {}), range(len(self)), of),
            )

    @staticmethod
    def _record(rows: Any, index: int, pictures: dict[str, Image.Image]) -> dict[str, Any]:
        try:
            row = rows[index]
        except (OSError, ValueError) as error:
            raise BadRecord(f"the row cannot be read ({error})") from error
        return {column: _named(column, value, pictures) for column, value in row.items()}


def values_of(record: Callable[[int], Any], indexes: Iterable[int], of: Callable[[Any], int]) -> NDArray[np.int64]:
    """``of(record(index))`` of every index, -1 where a record is damaged."""

    def value(index: int) -> int:
        try:
            return of(record(index))
        except BadRecord:
            return -1

    return np.fromiter((value(index) for index in indexes), np.int64)


def _named(name: str, value: Any, pictures: dict[str, Image.Image]) -> Any:
    """A column's value with a name in the place of every picture."""
    if isinstance(value, Image.Image):
        pictures[name] = value
        return name
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:  # not decoded
        return name
    if isinstance(value, list):
        return [_named(f"{name}/{place}", item, pictures) for place, item in enumerate(value)]
    return value


def _picture(pictures: dict[str, Image.Image], name: str, *, mask: bool = False) -> Image.Image:
    if name not in pictures:
        raise BadRecord(f"{name}: the row has no such picture, only {', '.join(pictures) or 'none'}")
    try:
        return to_mask(pictures[name]) if mask else to_rgb(pictures[name])
    except (OSError, ValueError) as error:
        raise BadRecord(f"{name}: {error}") from error
