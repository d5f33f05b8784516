"""Features of pictures, computed once: a file for each picture and backbone, named by their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mentor.files import whole

if TYPE_CHECKING:
    from mentor.evaluation.backbones import Backbone
    from mentor.evaluation.networks import Features
    from mentor.evaluation.protocol import Progress

CHUNK = 64
"""Pictures that are held in memory at once; a run that is stopped loses the features of at most so many."""


@dataclass(frozen=True)
class FeatureCache:
    """Keeps features under ``folder``/features/<backbone's fingerprint>/<picture's hash>.npy."""

    folder: Path
    progress: Progress | None = None

    def images(self, backbone: Backbone, pictures: Iterable[Image.Image], *, count: int, what: str = "") -> Features:
        """Features float32 [count, F] of ``count`` pictures, at least one, which may be read while they are asked for."""
        rows: list[Features] = []
        for chunk in _chunks(pictures):
            rows.append(self._chunk(backbone, chunk))
            if self.progress is not None:
                self.progress(what or backbone.name, min(len(rows) * CHUNK, count), count)
        return np.concatenate(rows)

    def _chunk(self, backbone: Backbone, pictures: Sequence[Image.Image]) -> Features:
        folder = self.folder / "features" / backbone.fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{content(picture)[:32]}.npy" for picture in pictures]
        missing = {path: picture for path, picture in zip(paths, pictures, strict=True) if not path.is_file()}
        if missing:
            for path, row in zip(missing, backbone.images(list(missing.values())), strict=True):
                _save(row, path)
        return np.stack([np.load(path, allow_pickle=False) for path in paths])


def content(picture: Image.Image) -> str:
    """Hash of a picture's size and RGB pixels, hexadecimal."""
    return hashlib.sha256(repr(picture.size).encode() + picture.convert("RGB").tobytes()).hexdigest()


def _chunks(pictures: Iterable[Image.Image]) -> Iterator[list[Image.Image]]:
    source = iter(pictures)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def _save(row: Features, path: Path) -> None:
    with whole(path) as partial, partial.open("wb") as file:
        np.save(file, row, allow_pickle=False)
