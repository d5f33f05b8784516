"""Checkpoints of a run: written beside and renamed into place, so that a killed process never leaves a broken one.

A run folder holds ``recipe.json`` (what is trained), ``checkpoints/step-00000500/`` (``weights.safetensors``,
``optimizer.pt``, ``state.json``), ``metrics.jsonl``, ``tensorboard/`` and, at the end, ``final/``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mentor.config.load import differences, from_dict, to_dict
from mentor.config.run import TrainConfig

_PARTIAL = ".partial-"


@dataclass
class Snapshot:
    """A run after ``step`` optimiser steps; random states and the place in the data follow from ``step``."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    state: dict[str, Any]


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes ``folder`` appear complete or not at all: ``fill`` writes beside it, everything is synced, then renamed.

    An existing folder is replaced.
    """
    partial = folder.with_name(_PARTIAL + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    fill(partial)
    for path in sorted(partial.rglob("*")):
        _sync(path)
    _sync(partial)
    remove_folder(folder)
    partial.rename(folder)
    _sync(folder.parent)


def remove_folder(folder: Path) -> None:
    """Deletes a folder; it first loses its name, so that a half-deleted one is never taken for a complete one."""
    if folder.exists():
        doomed = folder.with_name(_PARTIAL + "old-" + folder.name)
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)


def save(run: Path, snapshot: Snapshot, keep: int) -> Path:
    """Writes a checkpoint and deletes all but the last ``keep``. Returns its folder."""

    def fill(folder: Path) -> None:
        # Packed copies: safetensors takes neither shared storage nor channels-last strides.
        weights = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in snapshot.weights.items()
        }
        save_file(weights, folder / "weights.safetensors")
        torch.save(snapshot.optimizer, folder / "optimizer.pt")
        (folder / "state.json").write_text(json.dumps({"step": snapshot.step} | snapshot.state))

    folder = run / "checkpoints" / f"step-{snapshot.step:08d}"
    write_folder(folder, fill)
    for old in complete(run)[:-keep]:
        remove_folder(old)
    return folder


def complete(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in (run / "checkpoints").glob("step-*") if (path / "state.json").exists())


def load(folder: Path, device: torch.device) -> Snapshot:
    """Reads a checkpoint. Raises ValueError if a file is missing or damaged."""
    try:
        state = json.loads((folder / "state.json").read_text())
        weights = load_file(folder / "weights.safetensors")
        optimizer = torch.load(folder / "optimizer.pt", map_location=device, weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError, UnpicklingError) as error:
        raise ValueError(
            f"checkpoint {folder} cannot be read ({error}); delete it to resume from the one before"
        ) from error
    return Snapshot(step=state.pop("step"), weights=weights, optimizer=optimizer, state=state)


def open_run(run: Path, config: TrainConfig, *, overwrite: bool = False, resume: bool = False) -> Path | None:
    """Prepares a run folder and returns the checkpoint to resume from, or None for a fresh start.

    Raises ValueError if the folder holds checkpoints of another recipe (naming the keys that differ; logging and
    checkpointing may differ), or if ``resume`` is asked for and there is nothing to resume.
    """
    recipe = run / "recipe.json"
    if overwrite and recipe.exists():
        for name in ("checkpoints", "tensorboard", "final", "grids"):
            shutil.rmtree(run / name, ignore_errors=True)
        (run / "metrics.jsonl").unlink(missing_ok=True)
        recipe.unlink()
    found = complete(run)
    if found and recipe.exists():
        changed = differences(_identity(_read_recipe(recipe)), _identity(config))
        if changed:
            keys = "; ".join(changed[:8])
            raise ValueError(f"{run} holds a run of another recipe ({keys}); choose another --out or pass --overwrite")
    if resume and not found:
        raise ValueError(f"--resume: {run} holds no checkpoint")
    if run.exists() and not recipe.exists() and any(not path.name.startswith(_PARTIAL) for path in run.iterdir()):
        raise ValueError(f"{run} is not empty and holds no run; choose an empty or new folder")
    run.mkdir(parents=True, exist_ok=True)
    partial = run / (_PARTIAL + "recipe.json")
    partial.write_text(json.dumps(to_dict(config), indent=2) + "\n")
    partial.replace(recipe)
    return found[-1] if found else None


def _read_recipe(path: Path) -> TrainConfig:
    try:
        return from_dict(TrainConfig, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is no recipe of this version ({error}); pass --overwrite to start anew") from error


def _identity(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in to_dict(config).items() if key not in ("logging", "checkpointing")}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
