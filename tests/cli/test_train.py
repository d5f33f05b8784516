"""``mentor train``: alone, told only, and in several processes as launchers start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mentor.checkpoint.store import save_bundle
from mentor.cli.main import main
from mentor.config.load import from_dict, to_dict
from mentor.config.run import TrainConfig
from mentor.data.shards import write_manifest
from mentor.training.start import origin_of, starting_bundle
from tests.generation.tiny_bundle import CONFIG, tiny_bundle
from tests.training.tiny_mentor import rows, write
from tests.training.together import losses

ROOT = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe file for a tiny MENTOR, with its starting weights and shards beside it."""
    bundle = tiny_bundle()
    save_bundle(tmp_path / "start", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    write(tmp_path / "shards", rows(12), rows(4))
    values = {
        "name": "tiny",
        "objective": "mentor",
        "trainable": ["projector", "decoder"],
        "model": {"overrides": to_dict(CONFIG)},
        "init": {"bundle": str(tmp_path / "start")},
        "data": {"shards": str(tmp_path / "shards"), "batch_size": 5},
        "optim": {"accumulate": 2},
        "schedule": {"steps": 4},
        "logging": {"every": 1, "evaluate_every": 2, "grid_every": 0, "trackers": []},
        "checkpointing": {"every": 2},
    }
    config = from_dict(TrainConfig, values)
    manifest = {"shards": {"train": 3, "held_out": 1}, "origin": origin_of(config, starting_bundle(config))}
    write_manifest(tmp_path / "shards", manifest)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("variable", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_restart_does_not_delete_what_the_run_has_reached(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    run = recipe.parent / "run"
    command = ["train", str(recipe), "--out", str(run), "--overwrite", "--device", "cpu"]
    monkeypatch.setenv(variable, "0")
    assert main(command) == 0
    first = (run / "metrics.jsonl").read_text()
    monkeypatch.setenv(variable, "1")
    capsys.readouterr()
    assert main(command) == 0
    told = capsys.readouterr().err
    assert f"--overwrite: not heeded, this is a restart ({variable}=1)" in told and "resumed from step-00000004" in told
    assert (run / "metrics.jsonl").read_text() == first
    monkeypatch.delenv(variable)
    assert main(command) == 0
    assert "resumed" not in capsys.readouterr().err


def test_a_dry_run_tells_and_writes_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--dry-run", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    for part in (
        "processes: 1 (single)",
        "projector: ",
        "encoder: 0 trained",
        "warm-up steps: 1",
        "effective batch: 10 (5 x 2), samples in all: 40",
        "final learning rate: 0.0001",
        "samples by task: text_to_image 4, subject 4, multi 4",
    ):
        assert part in told
    assert sorted(path.name for path in recipe.parent.iterdir()) == ["shards", "start", "tiny.yaml"]


def test_an_unknown_tracker_is_one_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "logging.trackers=[paper]", "--out", str(recipe.parent / "run")]) == 2
    assert "expected one of tensorboard, wandb, trackio, got 'paper'" in capsys.readouterr().err


LAUNCHERS = {
    "mentor": ["-m", "mentor"],
    "accelerate": [
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes=2",
        "--num_machines=1",
        "-m",
        "mentor",
    ],
}


@pytest.mark.integration
@pytest.mark.parametrize("launcher", list(LAUNCHERS))
def test_several_processes_as_launchers_start_them(recipe: Path, launcher: str) -> None:
    run = recipe.parent / "run"
    arguments = ["train", str(recipe), "engine.processes=2", "--out", str(run), "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *LAUNCHERS[launcher], *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(run / "final")]
    assert "processes: 2 (ddp)" in done.stderr
    assert main(["train", str(recipe), "--out", str(recipe.parent / "alone"), "--device", "cpu"]) == 0
    expected = losses(recipe.parent / "alone")
    for step, numbers in losses(run).items():
        assert numbers == pytest.approx(expected[step], rel=1e-5)
