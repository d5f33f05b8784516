"""Killed at twenty moments, half of them during a save, a run ends in the bits and the numbers of one that never was."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import torch

from mentor.files import PARTIAL
from mentor.training.run_folder import complete
from tests.training import runs
from tests.training.together import losses, start, tensors

STEPS, KILLS = 100, 20
CHANGES = {
    "precision": "bf16_pure",
    "ema": 0.9,
    "optim": {"kind": "muon", "accumulate": 2},
    "schedule": {"steps": STEPS},
    "logging": {"every": 1, "evaluate_every": 5},
    "checkpointing": {"every": 1, "keep": 2},
}


def _until(condition: object, patience: float = 60) -> None:
    end = time.monotonic() + patience
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.0005)


def _saved(run: Path) -> int:
    """The step of the last complete checkpoint."""
    return max((int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*")), default=0)


def _kill(run: Path, scratch: Path, *, saving: bool, chance: random.Random) -> None:
    """Lets a run make a few steps, and kills it when it begins to save, or at a random moment."""
    sign = scratch / "trains"
    sign.unlink(missing_ok=True)
    before = _saved(run)
    process = start(runs.train_slowly, str(run), CHANGES, str(sign), log=scratch / "log")
    try:
        steps = chance.randint(0, 5)
        _until(lambda: (sign.exists() and _saved(run) >= before + steps) or not process.is_alive())
        if saving:
            _until(lambda: any((run / "checkpoints").glob(f"{PARTIAL}step-*")) or not process.is_alive())
            time.sleep(chance.choice([0, 0.002, 0.01]))
        else:
            time.sleep(chance.uniform(0, 0.1))
    finally:
        process.kill()
        process.join()


def _finish(run: Path, scratch: Path) -> None:
    process = start(runs.train_slowly, str(run), CHANGES, str(scratch / "trains"), log=scratch / "log")
    process.join(120)
    assert process.exitcode == 0, (scratch / "log").read_text()


@pytest.mark.integration
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    whole, killed, chance = tmp_path / "whole", tmp_path / "killed", random.Random(0)
    broken_saves, reached = 0, []
    for number in range(KILLS):
        _kill(killed, tmp_path, saving=number % 2 == 0, chance=chance)
        broken_saves += any((killed / "checkpoints").glob(f"{PARTIAL}step-*"))
        reached.append(_saved(killed))
    assert not (killed / "final").exists(), "the run ended before it was killed often enough"
    assert reached == sorted(reached)
    assert len(set(reached)) > KILLS // 2
    assert broken_saves >= 2
    _finish(killed, tmp_path)
    _finish(whole, tmp_path)
    for kind in ("train", "eval"):
        assert losses(killed, kind) == losses(whole, kind)
    assert list(losses(killed)) == list(range(1, STEPS + 1))
    assert (killed / "final" / "model.safetensors").read_bytes() == (whole / "final" / "model.safetensors").read_bytes()
    last, expected = tensors(complete(killed)[-1]), tensors(complete(whole)[-1])
    assert last.keys() == expected.keys()
    assert all(torch.equal(tensor, last[name]) for name, tensor in expected.items())
    assert [path.name for path in complete(killed)] == [path.name for path in complete(whole)]
    assert not list((killed / "checkpoints").glob(f"{PARTIAL}*"))
