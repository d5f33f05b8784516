"""Named tensors on disk: written shard by shard, all or nothing, and read one by one when asked for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mentor.checkpoint.eight_bit import SCALE_SUFFIX, dequantize_rows, may_be_eight_bit, quantize_rows, was_eight_bit
from mentor.checkpoint.shards import check_index, find_shards, shard_name, stored_files, write_index

Storage = Literal["full", "compact", "half", "eight_bit"]
"""Bits of stored float32: all of them; 16, and 8 for big weights, where that loses nothing (they were read from fewer bits);
the same, and the rest rounded to 16; big weights rounded to 8 and the rest to 16."""

_MAPPED_BYTES = 64_000_000
"""A file is mapped anew after this many bytes were read: pages that were read count as ours until the map is closed."""


def write_tensors(
    folder: Path,
    stem: str,
    state: Mapping[str, Tensor],
    *,
    storage: Storage = "full",
    eight_bit: frozenset[str] = frozenset(),
    shard_bytes: int = 4_000_000_000,
) -> None:
    """Writes ``state`` to ``folder`` under ``stem``, holding one shard in memory at a time.

    Matrices named in ``eight_bit`` are quantised by row, whatever ``storage`` is. ValueError for values that are not
    finite in the fewer bits, and for an unknown ``storage``.
    """
    if storage not in get_args(Storage):
        raise ValueError(f"storage: expected one of {', '.join(get_args(Storage))}, got {storage!r}")
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{stem}.") as temporary:
        shards: list[Path] = []
        places: dict[str, int] = {}
        size = 0
        for shard in _shards(state, storage, eight_bit, shard_bytes):
            path = Path(temporary) / str(len(shards))
            try:
                save_file(shard, path, metadata={"format": "pt"})
            except SafetensorError as error:
                raise ValueError(f"{folder}: {stem}.safetensors cannot be written ({error})") from error
            path.chmod(0o644)  # safetensors leaves it readable by its owner alone
            places |= dict.fromkeys(shard, len(shards))
            shards.append(path)
            size += sum(tensor.nbytes for tensor in shard.values())
            shard.clear()  # before the next one is gathered
        names = [shard_name(stem, number, len(shards)) for number in range(1, len(shards) + 1)]
        for old in stored_files(folder, stem):
            old.unlink()
        for path, name in zip(shards, names, strict=True):
            os.replace(path, folder / name)
        if len(shards) > 1:
            write_index(folder, stem, {name: names[place] for name, place in places.items()}, size)


def _shards(
    state: Mapping[str, Tensor], storage: Storage, eight_bit: frozenset[str], limit: int
) -> Iterator[dict[str, Tensor]]:
    """The tensors as they are stored, in parts of at most ``limit`` bytes (more only where one alone has more)."""
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in state.items():
        stored = _stored(name, tensor.detach().cpu(), storage, name in eight_bit)
        added = sum(each.nbytes for each in stored.values())
        if shard and size + added > limit:
            yield shard
            shard, size = {}, 0
        shard |= stored
        size += added
    yield shard


def _stored(name: str, tensor: Tensor, storage: Storage, eight_bit: bool) -> dict[str, Tensor]:
    chosen = storage == "eight_bit" and may_be_eight_bit(tensor)
    if eight_bit or chosen or (storage != "full" and was_eight_bit(tensor)):
        codes, scale = quantize_rows(tensor)
        return {name: codes, name + SCALE_SUFFIX: _finite(name, scale)}
    if storage in ("half", "eight_bit"):
        tensor = _finite(name, tensor.half() if tensor.dtype is torch.float32 else tensor)
    elif storage == "compact" and tensor.dtype is torch.float32 and torch.equal(tensor.half().float(), tensor):
        tensor = tensor.half()
    return {name: tensor.contiguous()}


def _finite(name: str, tensor: Tensor) -> Tensor:
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} holds values that are not finite in 16 bits; the training run has diverged")
    return tensor


def read_tensors(folder: Path, stem: str) -> StoredTensors:
    """What ``write_tensors`` wrote. Only the headers are read at once, each tensor when it is asked for.

    ValueError, naming the file, for one that is missing, cut off or not safetensors, and for an index that is broken or
    does not agree with its shards.
    """
    paths, weight_map = find_shards(folder, stem)
    files, shapes, versions = {}, {}, {}
    for path in paths:
        versions[path] = _version(path)
        header = _open(path)
        for name in header.keys():  # noqa: SIM118 - it is no mapping
            files[name] = path
            shapes[name] = tuple(header.get_slice(name).get_shape())
    if weight_map is not None:
        check_index(folder, stem, weight_map, files)
    for name in files:
        scales = shapes.get(name + SCALE_SUFFIX)
        if scales is not None and (len(shapes[name]) < 2 or scales != shapes[name][:1]):
            raise ValueError(f"{files[name]}: {name} has shape {list(shapes[name])} but scales {list(scales)}")
    return StoredTensors(files, shapes, versions)


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of safetensors files, of which only what is asked for is in memory.

    A weight stored in 8 bits is given as float32, everything else as it is stored. What is given is mapped from the file:
    copy it before writing to it. ``shapes`` has the same names.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        shapes: Mapping[str, tuple[int, ...]],
        versions: Mapping[Path, tuple[int, ...]],
    ) -> None:
        self._files, self._versions = files, versions
        self._names = [name for name in files if not _is_scale(name, files)]
        self.shapes = {name: shapes[name] for name in self._names}
        self._mapped: tuple[Path, Any] | None = None
        self._read_bytes = 0

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        tensor = self._read(name)
        scale = name + SCALE_SUFFIX
        return dequantize_rows(tensor, self._read(scale)) if scale in self._files else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _read(self, name: str) -> Tensor:
        path = self._files[name]
        if self._mapped is None or self._mapped[0] != path or self._read_bytes > _MAPPED_BYTES:
            self._mapped, self._read_bytes = None, 0
            self._mapped = path, _open(path)
            if _version(path) != self._versions[path]:
                raise ValueError(f"{path} was replaced while it was being read; load it again")
        tensor: Tensor = self._mapped[1].get_tensor(name)
        self._read_bytes += tensor.nbytes
        return tensor


def _is_scale(name: str, files: Mapping[str, Path]) -> bool:
    return name.endswith(SCALE_SUFFIX) and name.removesuffix(SCALE_SUFFIX) in files


def _version(path: Path) -> tuple[int, ...]:
    """Changes when another file takes the place."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}); copy it again") from error
