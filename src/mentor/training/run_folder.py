"""The folder of a run, and folders that appear whole or not at all, so that a killed process never leaves a broken one.

A run folder holds ``recipe.json`` (what is trained), ``checkpoints/step-00000500/``, ``metrics.jsonl``, ``tensorboard/``,
``grids/`` and, at the end, ``final/``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mentor.config.load import differences, from_dict, to_dict
from mentor.config.run import TrainConfig
from mentor.files import PARTIAL, locked, write_text
from mentor.training.trackers import ID

RECIPE, LOCK = "recipe.json", ".lock"
STATE = "state.json"
"""The part of a checkpoint that is written last."""
_FREE = (
    "logging",
    "checkpointing",
    "engine",
    "compile",
    "data.workers",
    "data.rejects",
    "data.reject_limit",
    "optim.skip_nonfinite",
    "schedule.samples",
)
"""What may differ when a run goes on: it does not change the result, or follows from what is compared (samples: the steps)."""
_FIXED = (
    "objective",
    "model",
    "init",
    "trainable",
    "lora",
    "ema",
    "seed",
    "data.batch_size",
    "data.packing",
    "data.precomputed",
    "optim.kind",
    "optim.accumulate",
)
"""What may not even when it is asked for: weights, their memory and the order of the samples follow from it."""

_RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
"""Environment variables: how often torchrun (``--max-restarts``) or Slurm (a job put back into the queue) started it again."""


def overwrites(asked: bool, *, tell: bool = True) -> bool:
    """Whether ``--overwrite``, if ``asked``, is heeded: not where the command is started once more by itself, which is told."""
    counts = {name: os.environ.get(name, "") for name in _RESTARTS}
    restarts = [f"{name}={count}" for name, count in counts.items() if count.isdigit() and int(count) > 0]
    if asked and restarts and tell:
        print(f"--overwrite: not heeded, this is a restart ({restarts[0]}); the run in --out goes on", file=sys.stderr)
    return asked and not restarts


def check_run(
    run: Path, config: TrainConfig, *, overwrite: bool = False, resume: bool = False, changes: bool | None = None
) -> Path | None:
    """The checkpoint that ``open_run`` would resume from, or None for a fresh start; nothing is written.

    Raises ValueError if the folder holds checkpoints of another recipe, naming the keys that differ; those of ``_FREE`` may,
    and with ``changes`` all but those of ``_FIXED`` (None: the caller has no such flag). So it does if ``resume`` is asked
    for and there is nothing to resume.
    """
    recipe = run / RECIPE
    found = [] if overwrite and recipe.exists() else complete(run)
    if found and recipe.exists():
        changed = differences(_identity(_read_recipe(recipe)), _identity(config))
        fixed = any(_under(line.partition(":")[0], _FIXED) for line in changed)
        if changed and (fixed or not changes):
            keys = "; ".join(changed[:8])
            go_on = "" if fixed or changes is None else ", pass --accept-changes to go on with these"
            raise ValueError(
                f"{run} holds a run of another recipe ({keys}); choose another --out{go_on}, or --overwrite to delete that run"
            )
    if resume and not found:
        raise ValueError(f"--resume: {run} holds no checkpoint")
    if run.exists() and not recipe.exists() and not all(_ours(path) for path in run.iterdir()):
        raise ValueError(f"{run} is not empty and holds no run; choose an empty or new folder")
    return found[-1] if found else None


def open_run(
    run: Path,
    config: TrainConfig,
    *,
    overwrite: bool = False,
    resume: bool = False,
    changes: bool | None = None,
    held: ExitStack | None = None,
) -> Path | None:
    """Prepares a run folder and returns the checkpoint to resume from, or None for a fresh start; raises as ``check_run``.

    While ``held`` is open no other process can open the folder; ValueError if one has.
    """
    found, recipe = check_run(run, config, overwrite=overwrite, resume=resume, changes=changes), run / RECIPE
    run.mkdir(parents=True, exist_ok=True)
    if held is not None:
        held.enter_context(
            locked(run / LOCK, f"{run}: another process trains there; wait for it, or choose another --out")
        )
    if overwrite and recipe.exists():
        for name in ("checkpoints", "tensorboard", "final", "grids"):
            remove_folder(run / name)
        for name in ("metrics.jsonl", ID, recipe.name):
            (run / name).unlink(missing_ok=True)
    for left in (*run.glob(f"{PARTIAL}*"), *run.glob(f"checkpoints/{PARTIAL}*")):  # by a killed process
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    write_text(recipe, json.dumps(to_dict(config), indent=2) + "\n")
    return found


def _ours(path: Path) -> bool:
    """Whether a file or folder of this name may lie in a folder that is not a run yet."""
    return path.name == LOCK or path.name.startswith(PARTIAL)


def complete(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in (run / "checkpoints").glob("step-*") if (path / STATE).exists())


def begin_folder(folder: Path) -> Path:
    """An empty folder beside ``folder``, to be filled and given to ``finish_folder``."""
    partial = folder.with_name(PARTIAL + folder.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def finish_folder(partial: Path, folder: Path) -> None:
    """Brings what ``begin_folder`` began to the disk and gives it its name; an existing folder is replaced."""
    for path in sorted(partial.rglob("*")):
        _sync(path)
    _sync(partial)
    remove_folder(folder)
    partial.rename(folder)
    _sync(folder.parent)


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Makes ``folder`` appear complete or not at all: ``fill`` writes beside it. An existing folder is replaced."""
    partial = begin_folder(folder)
    try:
        fill(partial)
        finish_folder(partial, folder)
    except OSError:  # a full disk, above all: what was written of it is in the way
        shutil.rmtree(partial, ignore_errors=True)
        raise


def remove_folder(folder: Path) -> None:
    """Deletes a folder; it first loses its name, so that a half-deleted one is never taken for a complete one."""
    if folder.exists():
        doomed = folder.with_name(PARTIAL + "old-" + folder.name)
        shutil.rmtree(doomed, ignore_errors=True)
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _read_recipe(path: Path) -> TrainConfig:
    try:
        return from_dict(TrainConfig, json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} is no recipe of this version ({error}); pass --overwrite to start anew") from error


def _identity(config: TrainConfig) -> dict[str, Any]:
    values: dict[str, Any] = to_dict(config)
    for name in _FREE:
        section, _, key = name.partition(".")
        (values[section] if key else values).pop(key or section)
    return values


def _under(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
