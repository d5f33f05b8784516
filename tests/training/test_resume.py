"""Checkpoints: what is kept, what is resumed, folders that do not fit, and a full disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mentor.config.sections import MentorObjectiveConfig
from mentor.data.shards import PrecomputedDataset
from mentor.training import run_folder
from mentor.training.checkpointing import load, read_state
from mentor.training.feed import MentorFeed
from mentor.training.objective import MentorObjective
from mentor.training.trainer import Trainer
from tests.generation.tiny_bundle import tiny_bundle
from tests.training import runs
from tests.training.runs import Ending
from tests.training.tiny import tiny_config, tiny_trainer
from tests.training.tiny_mentor import processor, rows, write
from tests.training.together import start, tensors, together


def _records(folder: Path, kind: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def _train_lines(folder: Path) -> list[str]:
    return [line for line in (folder / "metrics.jsonl").read_text().splitlines() if '"train"' in line]


def test_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    tiny_trainer(tiny_config()).run(tmp_path / "run")
    assert [path.name for path in run_folder.complete(tmp_path / "run")] == ["step-00000008", "step-00000012"]


def test_the_best_checkpoint_is_kept_too(tmp_path: Path) -> None:
    """With a large learning rate at the end the best one is an early one."""
    for best_is in ("lowest", "highest"):
        saving = {"every": 1, "keep": 2, "best": "error", "best_is": best_is}
        config = tiny_config(optim={"lr": 0.5}, schedule={"floor": 1.0, "warmup": 12}, checkpointing=saving)
        run = tmp_path / best_is
        tiny_trainer(config).run(run)
        errors = {record["step"]: record["error"] for record in _records(run, "eval")}
        assert list(errors) == list(range(1, 13))  # whatever logging.evaluate_every says
        chosen = (min if best_is == "lowest" else max)(errors, key=lambda step: errors[step])
        assert [path.name for path in run_folder.complete(run)] == [f"step-{s:08d}" for s in sorted({chosen, 11, 12})]
        assert (chosen < 11) == (best_is == "lowest")


def test_an_unknown_metric_is_told_at_the_first_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no held-out metric is called 'nll'; known: error, training"):
        tiny_trainer(tiny_config(checkpointing={"best": "nll"})).run(tmp_path / "run")
    assert not run_folder.complete(tmp_path / "run")


def test_a_checkpoint_says_where_the_run_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny_trainer(tiny_config(optim={"accumulate": 3}, seed=5)).run(run)
    state = read_state(run_folder.complete(run)[-1])
    expected = {"step": 12, "next_batch": 36, "seed": 5, "processes": 1, "skipped": 0, "skipped_in_a_row": 0}
    assert expected.items() <= state.items()
    assert state["metrics"].keys() == {"error", "training"}


def test_another_model_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny_trainer(tiny_config()).run(run)
    trainer = tiny_trainer(tiny_config())
    tensors, last = trainer.weights.state_dict(), run_folder.complete(run)[-1]
    fewer = {name: tensor for name, tensor in tensors.items() if name != "weights.output.bias"}
    with pytest.raises(ValueError, match=r"one of the two only: weights\.output\.bias"):
        load(last, fewer, trainer.optimizer.blank, trainer.processes)
    other = tensors | {"weights.output.bias": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"weights\.output\.bias has shape \(1,\), not \(2,\)"):
        load(last, other, trainer.optimizer.blank, trainer.processes)


@pytest.mark.integration
@pytest.mark.parametrize("limit", [100, 3000, 20_000])
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_space(tmp_path: Path, limit: int) -> None:
    """Files that may not grow stand for the full disk; too small for the JSON, the metadata or the tensors."""
    run = tmp_path / "run"
    changes = {"optim": {"kind": "adamw"}, "logging": {"every": 0, "evaluate_every": 0}}
    tiny_trainer(tiny_config(**changes)).run(tmp_path / "whole")
    together(1, runs.train_tiny, str(run), changes, 4, logs=tmp_path)
    before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
    assert [path.parent.name for path in before] == ["step-00000004"] * 3
    process = start(runs.train_short_of_space, str(run), changes, limit, log=tmp_path / "full.log")
    process.join(60)
    told = (tmp_path / "full.log").read_text()
    assert process.exitcode == 2, told
    assert "the checkpoint of step 8 cannot be written (" in told
    assert "File too large" in told
    assert "it goes on from step-00000004" in told
    assert {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()} == before
    together(1, runs.train_tiny, str(run), changes, logs=tmp_path)
    assert (run / "final/model.safetensors").read_bytes() == (tmp_path / "whole/final/model.safetensors").read_bytes()


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


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    tiny_trainer(tiny_config()).run(tmp_path / "run")
    damaged = run_folder.complete(tmp_path / "run")[-1] / name
    damaged.write_bytes(damaged.read_bytes()[:20])
    with pytest.raises(ValueError, match="step-00000012 cannot be read"):
        tiny_trainer(tiny_config()).run(tmp_path / "run")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_folder.write_folder(tmp_path / "final", fails)
    assert not (tmp_path / "final").exists()
    run_folder.write_folder(tmp_path / "final", lambda folder: (folder / "whole").touch())
    with pytest.raises(OSError, match="disk full"):
        run_folder.write_folder(tmp_path / "final", fails)
    assert [path.name for path in (tmp_path / "final").iterdir()] == ["whole"]


def test_frozen_weights_are_not_stored_and_known_again(tmp_path: Path) -> None:
    """A fine-tune of a few million numbers must not write billions; what is frozen comes from where the run starts."""
    write(tmp_path / "shards", rows(24), rows(6))
    train, held_out = (PrecomputedDataset(str(tmp_path / "shards"), split) for split in ("train", "held_out"))
    config = tiny_config(trainable=["projector", "decoder"], checkpointing={"every": 3}, ema=0.9, precision="bf16_pure")

    def trainer(seed: int = 0) -> Trainer:
        options = MentorObjectiveConfig(condition_dropout=0.3)
        objective = MentorObjective(tiny_bundle(seed), processor(), options, held_out)
        feed = MentorFeed(train, processor(), batch_size=8, length_multiple=1, seed=0)
        return Trainer(config, objective, feed, device="cpu")

    trainer().run(tmp_path / "whole")
    cut = trainer()
    cut.feed = Ending(cut.feed, 7)
    with pytest.raises(ValueError, match="enough"):
        cut.run(tmp_path / "parts")
    last = run_folder.complete(tmp_path / "parts")[-1]
    stored = {name.split(".")[1] for name in tensors(last) if name.startswith("weights.")}
    assert stored == {"projector", "decoder"}
    with pytest.raises(ValueError, match="belongs to other frozen weights.*has init.bundle changed"):
        trainer(seed=1).run(tmp_path / "parts")
    write(tmp_path / "grown", rows(30), rows(6))
    grown = trainer()
    grown.feed = MentorFeed(
        PrecomputedDataset(tmp_path / "grown", "train"), processor(), batch_size=8, length_multiple=1, seed=0
    )
    for changes, advice in (
        (False, "pass --accept-changes to go on with other samples"),
        (None, "--overwrite to delete"),
    ):
        with pytest.raises(
            ValueError, match=rf"not those that step-00000006 was made with \(samples: 24 -> 30\).*{advice}"
        ):
            grown.run(tmp_path / "parts", changes=changes)
    shutil.copytree(tmp_path / "parts", tmp_path / "accepted")
    grown.run(tmp_path / "accepted", changes=True)
    trainer().run(tmp_path / "parts")
    whole, parts = ((tmp_path / run / "final" / "model.safetensors").read_bytes() for run in ("whole", "parts"))
    assert whole == parts
