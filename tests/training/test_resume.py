"""Checkpoints: resuming to the bit after a kill at any moment, and folders that do not fit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mentor.training import checkpointing
from tests.training.resumed import CHANGES
from tests.training.tiny import tiny_config, tiny_trainer

ROOT = Path(__file__).parents[2]


def _finish(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(tiny_trainer(tiny_config(**CHANGES), dropout=0.2).run(folder) / "model.safetensors")


def _kill_when(folder: Path, checkpoints: int) -> None:
    """Starts the run in another process and kills it after so many checkpoints."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.resumed", str(folder)],
        env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        before = len(checkpointing.complete(folder))
        last = checkpointing.complete(folder)[-1:]
        for _ in range(6000):
            found = checkpointing.complete(folder)
            if (found[-1:] != last and len(found) >= min(2, before + checkpoints)) or process.poll() is not None:
                break
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.integration
def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    whole = _finish(tmp_path / "whole")
    _kill_when(tmp_path / "killed", checkpoints=1)
    _kill_when(tmp_path / "killed", checkpoints=2)
    left = checkpointing.complete(tmp_path / "killed")
    assert left
    assert checkpointing.load(left[-1], torch.device("cpu")).step < 40
    resumed = _finish(tmp_path / "killed")
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name
    steps = [line.split('"step": ')[1].split(",")[0] for line in _train_lines(tmp_path / "killed")]
    assert steps == [str(step) for step in range(1, 41)]  # nothing missing, nothing twice


def _train_lines(folder: Path) -> list[str]:
    return [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"train"' in line]


def test_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    tiny_trainer(tiny_config()).run(tmp_path / "run")
    assert [path.name for path in checkpointing.complete(tmp_path / "run")] == ["step-00000008", "step-00000012"]


def test_a_finished_run_is_exported_again_and_not_trained_again(tmp_path: Path) -> None:
    first = load_file(tiny_trainer(tiny_config()).run(tmp_path / "run") / "model.safetensors")
    trainer = tiny_trainer(tiny_config())
    again = load_file(trainer.run(tmp_path / "run") / "model.safetensors")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert len(_train_lines(tmp_path / "run")) == 12


def test_another_recipe_is_refused_naming_the_keys(tmp_path: Path) -> None:
    tiny_trainer(tiny_config()).run(tmp_path / "run")
    other = tiny_config(seed=3, optim={"lr": 0.5})
    with pytest.raises(ValueError, match=r"optim\.lr: 0\.01 -> 0\.5; seed: 0 -> 3.*--overwrite"):
        tiny_trainer(other).run(tmp_path / "run")
    tiny_trainer(other).run(tmp_path / "run", overwrite=True)
    assert len(_train_lines(tmp_path / "run")) == 12


def test_logging_may_change(tmp_path: Path) -> None:
    tiny_trainer(tiny_config()).run(tmp_path / "run")
    tiny_trainer(tiny_config(logging={"every": 5}, checkpointing={"keep": 1})).run(tmp_path / "run")


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no checkpoint"):
        tiny_trainer(tiny_config()).run(tmp_path / "run", resume=True)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="not empty and holds no run"):
            tiny_trainer(tiny_config()).run(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    tiny_trainer(tiny_config()).run(tmp_path / "run")
    damaged = checkpointing.complete(tmp_path / "run")[-1] / name
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(ValueError, match="step-00000012 cannot be read"):
        tiny_trainer(tiny_config()).run(tmp_path / "run")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpointing.write_folder(tmp_path / "final", fails)
    assert not (tmp_path / "final").exists()
    checkpointing.write_folder(tmp_path / "final", lambda folder: (folder / "whole").touch())
    with pytest.raises(OSError, match="disk full"):
        checkpointing.write_folder(tmp_path / "final", fails)
    assert [path.name for path in (tmp_path / "final").iterdir()] == ["whole"]
