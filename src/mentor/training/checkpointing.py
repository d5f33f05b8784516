"""Checkpoints of a run: every process writes its part (torch.distributed.checkpoint), the first one gives it its name.

``checkpoints/step-00000500/`` holds ``__<process>_0.distcp`` (tensors), ``.metadata`` (which tensor lies where) and
``state.json``. Any number of processes can read what any other number wrote, sharded or not.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import (
    CheckpointException,
    FileSystemReader,
    FileSystemWriter,
    TensorStorageMetadata,
)

from mentor.config.sections import CheckpointConfig
from mentor.training.distributed import Processes
from mentor.training.run_folder import STATE, begin_folder, complete, finish_folder, remove_folder

Blank = Callable[[str, torch.Size, torch.dtype], Tensor]
"""Name, shape and type of an optimiser's tensor -> a tensor to read it into."""
OPTIMIZER = "optimizer."
"""What the names of the optimiser's tensors begin with."""


def save(
    run: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    config: CheckpointConfig,
    processes: Processes,
) -> Path:
    """Writes a checkpoint and deletes all but the last ``config.keep`` and the best. Returns its folder.

    ``tensors``: what is whole is the same in all processes; ``state``: what fits into JSON, with ``metrics`` (name ->
    held-out number). Raises ValueError if it cannot be written; older checkpoints are left as they were.
    """
    folder = run / "checkpoints" / f"step-{step:08d}"
    partial = folder  # in case nothing can be made beside it

    def end() -> None:
        (partial / STATE).write_text(json.dumps({"step": step, "processes": processes.count} | dict(state)))
        finish_folder(partial, folder)
        kept = complete(run)
        favourite = best(kept, config)
        for old in kept[: -config.keep]:
            if old != favourite:
                remove_folder(old)

    try:
        partial = Path(processes.first(lambda: str(begin_folder(folder))))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
            dcp.save(dict(tensors), storage_writer=FileSystemWriter(partial), no_dist=processes.count == 1)
        processes.first(end)
    except (CheckpointException, OSError) as error:
        if partial != folder:
            shutil.rmtree(partial, ignore_errors=True)
        cause = _cause(error)
        # torch's own writer hides the error of the file system in a RuntimeError.
        if isinstance(cause, OSError) or "PytorchStreamWriter" in str(cause):
            last = complete(run)[-1:]
            raise ValueError(
                f"the checkpoint of step {step} cannot be written ({_reason(error)}). Make space and start the same command "
                f"again, without --overwrite: it goes on from {last[0].name if last else 'the beginning'}"
            ) from error
    else:
        return folder
    raise cause  # out here, so that it still tells what it came of


def best(folders: list[Path], config: CheckpointConfig) -> Path | None:
    """The checkpoint with the best value of the metric ``config.best``, the older of two equal ones."""
    if config.best is None:
        return None
    sign = 1.0 if config.best_is == "lowest" else -1.0
    scores = [sign * read_state(folder)["metrics"].get(config.best, math.inf * sign) for folder in folders]
    known = [(score, folder) for score, folder in zip(scores, folders, strict=True) if score < math.inf]
    return min(known)[1] if known else None


def check_best(config: CheckpointConfig, metrics: Mapping[str, float]) -> None:
    """Raises ValueError, naming those that there are, unless ``metrics`` hold what ``config.best`` names."""
    if config.best is not None and config.best not in metrics:
        known = ", ".join(metrics) or "none, because nothing was measured (mentor.evaluation_samples, data.held_out)"
        raise ValueError(f"checkpointing.best: no held-out metric is called '{config.best}'; known: {known}")


def read_state(folder: Path) -> dict[str, Any]:
    """``step``, ``metrics`` and the rest of what a checkpoint says in JSON. Raises ValueError if it cannot be read."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    return state


def load(folder: Path, tensors: Mapping[str, Tensor], blank: Blank, processes: Processes) -> dict[str, Tensor]:
    """Reads a checkpoint into ``tensors``, in place; returns the optimiser's tensors, made with ``blank``.

    Raises ValueError if a file is missing or damaged, or if names or shapes are not those of ``tensors``.
    """
    try:
        reader = FileSystemReader(folder)
        stored = {
            name: entry
            for name, entry in reader.read_metadata().state_dict_metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        own = {name: entry for name, entry in stored.items() if not name.startswith(OPTIMIZER)}
        _check({name: entry.size for name, entry in own.items()}, tensors)
        optimizer = {
            name: blank(name.removeprefix(OPTIMIZER), entry.size, entry.properties.dtype)
            for name, entry in stored.items()
            if name not in own
        }
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
            dcp.load(dict(tensors) | optimizer, storage_reader=reader, no_dist=processes.count == 1)
    except (CheckpointException, OSError, EOFError, UnpicklingError, RuntimeError) as error:
        raise _unreadable(folder, error) from error
    return {name.removeprefix(OPTIMIZER): tensor for name, tensor in optimizer.items()}


def _check(stored: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> None:
    if tensors.keys() != stored.keys():
        names = ", ".join(sorted(tensors.keys() ^ stored.keys())[:5])
        raise ValueError(f"the checkpoint does not fit the model: these are in one of the two only: {names}")
    for name, tensor in tensors.items():
        if tensor.shape != stored[name]:
            shapes = f"{tuple(stored[name])}, not {tuple(tensor.shape)}"
            raise ValueError(f"the checkpoint does not fit the model: {name} has shape {shapes}")


def _unreadable(folder: Path, error: BaseException) -> ValueError:
    return ValueError(f"checkpoint {folder} cannot be read ({_reason(error)}); delete it to resume from the one before")


def _cause(error: BaseException) -> BaseException:
    """The first thing that went wrong in any process."""
    while isinstance(error, CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    return error


def _reason(error: BaseException) -> str:
    """What went wrong first, on one line."""
    cause = _cause(error)
    return " ".join(str(cause).split())[:300] or type(cause).__name__
