"""Precomputed training samples on disk: image codes, prompt ids, vision features, object masks in safetensors shards.

Prompts differ in length and in number of images, so ids and features lie one after the other and ``*_ends`` say where
each sample's part ends; so do, for a Query-Former, the ids of what to look for in each image. Shards are mapped into memory,
so a data set may be larger than it.

Shape letters: L image tokens, P visual tokens an image, Dv their width, M images of one prompt.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mentor.data.tasks import TASKS
from mentor.files import whole, write_text

SPLITS = ("train", "held_out")
TASK_NAMES = (
    "text_to_image",
    "reconstruct",
    "segment",
    "recover",
    "subject",
    "multi",
    "interleaved",
    "caption",
    "own_subject",
)
"""The tasks of the corpus, prompts of other people's making, stage 0's captions and one's own subject. Shards hold places in
this list: new ones go to its end."""
assert set(TASKS) <= set(TASK_NAMES), "every task of the corpus needs a place in TASK_NAMES"
_MANIFEST = "shards.json"


@dataclass(frozen=True)
class Row:
    """One sample, ready for the model."""

    ids: Tensor
    """int64 [S], placeholders expanded, not padded."""
    features: Tensor
    """float16 [M, P, Dv]."""
    codes: Tensor
    """int64 [L], row-major."""
    object_mask: Tensor
    """bool [L]: tokens that show what the prompt asks for."""
    task: str
    queries: tuple[Tensor, ...] = ()
    """What a Query-Former looks for in each of the M images, int64 [T] each; empty for other connectors."""


def write_shard(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows as one shard, complete or not at all; ValueError where it cannot be written."""
    tensors = {
        "ids": torch.cat([row.ids for row in rows]).to(torch.int32),
        "ids_ends": torch.tensor([len(row.ids) for row in rows]).cumsum(0),
        "features": torch.cat([row.features for row in rows]).to(torch.float16),
        "features_ends": torch.tensor([len(row.features) for row in rows]).cumsum(0),
        "codes": torch.stack([row.codes for row in rows]).to(torch.int32),
        "object_mask": torch.stack([row.object_mask for row in rows]),
        "tasks": torch.tensor([TASK_NAMES.index(row.task) for row in rows], dtype=torch.uint8),
    }
    queries = [ids for row in rows for ids in row.queries]
    if queries:
        tensors["queries"] = torch.cat(queries).to(torch.int32)
        tensors["queries_ends"] = torch.tensor([len(ids) for ids in queries]).cumsum(0)
    try:
        with whole(path) as partial:
            save_file(tensors, partial)
            partial.chmod(0o644)  # safetensors leaves it readable by its owner alone
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be written ({error}); is the disk full?") from error


def shard_name(split: str, number: int) -> str:
    """File name of a shard."""
    return f"{split}-{number:05d}.safetensors"


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Records what the shards of a folder were made from, complete or not at all."""
    write_text(folder / _MANIFEST, json.dumps(manifest, indent=2) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the shards were made from. Raises ValueError if there is no readable manifest."""
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder} holds no precomputed shards ({error}); make them with `mentor precompute`"
        ) from error
    return manifest


class PrecomputedDataset:
    """The samples of one split of a folder written by ``mentor precompute``, but those of the tasks ``without``.

    Raises ValueError if the folder is not complete.
    """

    def __init__(self, folder: str | Path, split: str, *, without: Collection[str] = ()) -> None:
        self._made_from = {"folder": folder, "split": split, "without": tuple(without)}
        folder = Path(folder)
        if split not in SPLITS:
            raise ValueError(f"expected a split among {', '.join(SPLITS)}, got '{split}'")
        self.manifest = read_manifest(folder)
        wanted = self.manifest["shards"][split]
        self._shards = [_read(folder / shard_name(split, number)) for number in range(wanted)]
        self._starts = np.cumsum([0, *(len(shard["tasks"]) for shard in self._shards)])
        tasks = np.concatenate([np.empty(0, np.uint8), *(shard["tasks"].numpy() for shard in self._shards)])
        left_out = [place for place, name in enumerate(TASK_NAMES) if name in without]
        self._kept = np.flatnonzero(~np.isin(tasks, left_out))
        self.tasks: NDArray[np.uint8] = tasks[self._kept]
        """Index into ``TASK_NAMES`` of each sample."""
        self.lengths: NDArray[np.int64] = self._per_sample("ids_ends")
        """Condition tokens of each sample."""

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        stored = int(self._kept[index])
        number = int(np.searchsorted(self._starts, stored, side="right")) - 1
        shard, place = self._shards[number], stored - int(self._starts[number])
        return Row(
            ids=_part(shard, "ids", place).long(),
            features=_part(shard, "features", place),
            codes=shard["codes"][place].long(),
            object_mask=shard["object_mask"][place],
            task=TASK_NAMES[int(shard["tasks"][place])],
            queries=_queries(shard, place),
        )

    def __getstate__(self) -> dict[str, Any]:
        # Maps cannot be sent to worker processes, only copies of all that they hold; each maps the shards anew.
        return self._made_from

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def counts(self) -> dict[str, int]:
        """Samples of each task."""
        return {name: int((self.tasks == i).sum()) for i, name in enumerate(TASK_NAMES) if (self.tasks == i).any()}

    def _per_sample(self, ends: str) -> NDArray[np.int64]:
        sizes = [np.diff(shard[ends].numpy(), prepend=0) for shard in self._shards]
        return np.concatenate([np.empty(0, np.int64), *sizes])[self._kept]


def _part(shard: dict[str, Tensor], name: str, place: int) -> Tensor:
    return shard[name][slice(*_span(shard[f"{name}_ends"], place))]


def _span(ends: Tensor, place: int) -> tuple[int, int]:
    return int(ends[place - 1]) if place else 0, int(ends[place])


def _queries(shard: dict[str, Tensor], place: int) -> tuple[Tensor, ...]:
    if "queries" not in shard:
        return ()
    return tuple(_part(shard, "queries", image).long() for image in range(*_span(shard["features_ends"], place)))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"shard {path} cannot be read ({error}); run `mentor precompute` again") from error
