"""Weights out of files that others wrote: torch's pickles, of which nothing is executed, and safetensors.

Files are mapped into memory, not read: a tensor's bytes are fetched when something is computed from it or written.
"""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mentor.checkpoint.mapped import MappedWeights

ALLOWED = [argparse.Namespace]
"""The only classes that are unpickled beside tensors and plain values: the released files hold the arguments of their runs."""

CONTAINERS = ("model", "module", "state_dict")
"""Where in a checkpoint the weights may lie; a file may also be nothing but the weights."""

TRAINING_STATE = frozenset(
    (
        "args",
        "discriminator",
        "ema",
        "epoch",
        "lr_scheduler",
        "optimizer",
        "optimizer_disc",
        "scaler",
        "scheduler",
        "steps",
    )
)
"""What may lie beside the weights and is left out, being of no use outside the run that wrote it."""

_WRAPPERS = {"module.": "DistributedDataParallel", "_orig_mod.": "torch.compile"}
_REFUSED = re.compile(r"GLOBAL (\S+)")
_BROKEN = (
    *(RuntimeError, OSError, EOFError, pickle.UnpicklingError, SafetensorError, struct.error, ValueError, LookupError),
    *(TypeError, AttributeError, AssertionError, OverflowError, MemoryError, ImportError, RecursionError),
)
"""What reading a damaged or hostile file has been seen to raise, or may."""


@dataclass(frozen=True)
class WeightFile:
    """What is in a file of weights."""

    path: Path
    tensors: MappedWeights
    args: Mapping[str, Any] = field(default_factory=dict)
    """The arguments of the run that wrote the file, where it says."""
    notes: tuple[str, ...] = ()
    """What was left out or renamed, a sentence each."""


def read_pickle(path: str | Path) -> WeightFile:
    """The weights of a file that ``torch.save`` or safetensors wrote: bare, or in one of ``CONTAINERS``.

    ValueError, naming the file, for one that is missing, cut off, of another kind, holds no weights, or wants anything but
    tensors, plain values and ``ALLOWED`` (naming what it wants): nothing of such a file is executed.
    """
    return read_pickles(Path(path), [Path(path)])


def read_pickles(source: Path, paths: Sequence[Path]) -> WeightFile:
    """As ``read_pickle``, for a model ``source`` in several files; of a name in two of them the last counts."""
    reads, notes, args = [], [], {}
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path} {'is a folder, expected a file' if path.is_dir() else 'does not exist'}")
        read, told, told_args = _read_one(path)
        reads.append(read)
        notes += told
        args.update(told_args)
    tensors = MappedWeights(lambda: {name: tensor for read in reads for name, tensor in read().items()})
    return WeightFile(source, tensors, args, tuple(notes))


def _read_one(path: Path) -> tuple[Callable[[], dict[str, Tensor]], list[str], dict[str, Any]]:
    """How to map the file's weights; what was left out or renamed; the arguments of the run that wrote it."""
    loaded, load = _open(path)
    state, beside = _weights(loaded, path)
    names, notes = _plain_names(state, path)
    for known, say in ((True, ""), (False, ", not known here")):
        keys = sorted(str(key) for key in beside if (key in TRAINING_STATE) is known)
        if keys:
            notes.append(f"left out of {path.name}{say}: {', '.join(keys)}")
    args = beside.get("args")

    def read() -> dict[str, Tensor]:
        state, _ = _weights(load(), path)
        return {name: state[stored] for name, stored in names.items()}

    if isinstance(args, argparse.Namespace):
        args = vars(args)
    return read, notes, dict(args) if isinstance(args, dict) else {}


def _open(path: Path) -> tuple[Any, Callable[[], Any]]:
    """What the file holds, and how to map it again."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[:4] == b"PK\x03\x04":
        return _load(path, mapped=True), lambda: _load(path, mapped=True)
    if start[8:] == b"{" or path.suffix == ".safetensors":
        return _load_safetensors(path), lambda: _load_safetensors(path)
    # Files older than torch 1.6 cannot be mapped: they are in memory as a whole.
    loaded = _load(path, mapped=False)
    return loaded, lambda: loaded


def _load(path: Path, *, mapped: bool) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(ALLOWED)):
            warnings.simplefilter("ignore", UserWarning)  # about foreign pickle protocols and TorchScript
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except _BROKEN as error:
        refused = _REFUSED.search(str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            allowed = ", ".join(f"{each.__module__}.{each.__name__}" for each in ALLOWED)
            raise ValueError(
                f"{path} is refused: it wants {refused[1]}, and only tensors, plain values and {allowed} are unpickled; "
                "nothing was executed"
            ) from error
        if "TorchScript" in str(error):
            raise ValueError(f"{path} is a TorchScript program, expected weights written by torch.save") from error
        raise ValueError(
            f"{path} is not a readable checkpoint ({_reason(error)}); expected a file written by torch.save or safetensors: "
            "copy or download it again"
        ) from error


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except _BROKEN as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}); copy or download it again") from error


def _reason(error: BaseException) -> str:
    """The part of torch's explanation that is about the file."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__


def _weights(loaded: Any, path: Path) -> tuple[dict[str, Tensor], dict[Any, Any]]:
    """The weights in what a file holds, and what lies beside them."""
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, expected a dictionary of tensors")
    container = next((name for name in CONTAINERS if isinstance(loaded.get(name), Mapping)), None)
    state = loaded if container is None else loaded[container]
    beside = {} if container is None else {key: value for key, value in loaded.items() if key != container}
    if not any(isinstance(value, Tensor) for value in state.values()):
        found = ", ".join(str(key) for key in list(loaded)[:5]) or "nothing"
        raise ValueError(
            f"{path} holds no weights: expected tensors by name, alone or under {' or '.join(CONTAINERS)}; found {found}"
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{path}: expected nothing but tensors by name; {name!r} is a {type(value).__name__}")
        # A view that repeats its numbers could be as large as it likes.
        if value.layout is not torch.strided or value.nbytes > value.untyped_storage().nbytes():
            raise ValueError(f"{path}: {name} is not a plain tensor with all its numbers in the file")
    return {name: value.detach() for name, value in state.items()}, beside


def _plain_names(state: Mapping[str, Tensor], path: Path) -> tuple[dict[str, str], list[str]]:
    """Names without what wrappers put before them -> names in the file; and what to say of it."""
    names = {name: name for name in state}
    notes = []
    while prefix := next((each for each in _WRAPPERS if all(name.startswith(each) for name in names)), None):
        names = {name.removeprefix(prefix): stored for name, stored in names.items()}
        notes.append(f"{path.name}: took '{prefix}' ({_WRAPPERS[prefix]}) off the names")
    inner = re.compile(r"(^|\.)_orig_mod\.")
    plain = {inner.sub(r"\1", name): stored for name, stored in names.items()}
    if len(plain) < len(names):
        raise ValueError(f"{path} has tensors whose names differ only by '_orig_mod.': which one counts is not known")
    if plain != names:
        names = plain
        notes.append(f"{path.name}: took '_orig_mod.' (torch.compile) out of the names")
    return names, notes
