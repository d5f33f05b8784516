"""The loop: accumulation, freezing, precision, metrics, descriptions, and what happens when the loss breaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mentor.training.distributed import join
from mentor.training.protocol import WHOLE, Batch, Share
from mentor.training.run_folder import complete, remove_folder
from mentor.training.step import seed_everything
from mentor.training.trainer import Trainer
from tests.training.tiny import TinyFeed, TinyObjective, tiny_config, tiny_trainer


class Slices:
    """One big batch in unequal parts, or whole."""

    def __init__(self, ends: list[int]) -> None:
        self.whole, self.ends = TinyFeed(24).batch(0), ends

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        place = index % len(self.ends)
        start = self.ends[place - 1] if place else 0
        return {name: value[start : self.ends[place]] for name, value in self.whole.items()}


@pytest.mark.parametrize("ends", [[8, 16, 24], [3, 4, 24]])
def test_accumulated_batches_equal_one_batch(ends: list[int]) -> None:
    results = []
    for parts in ([24], ends):
        config = tiny_config(optim={"accumulate": len(parts)}, precision="fp32")
        trainer = Trainer(config, TinyObjective(), Slices(parts), device="cpu")
        for _ in range(3):
            metrics = trainer.stepper.update([trainer.feed.batch(i) for i in range(len(parts))], 0)
        results.append((float(metrics["loss"]), float(metrics["absolute"]), trainer.weights.masters))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-5)
    for name, master in results[0][2].items():
        assert torch.allclose(master, results[1][2][name], atol=1e-5), name


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16_pure"])
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_frozen_parts_stay_bit_identical_and_the_rest_moves(tmp_path: Path, precision: str, kind: str) -> None:
    trainer = tiny_trainer(
        tiny_config(precision=precision, trainable=["body", "output"], ema=0.5, optim={"kind": kind})
    )
    before = {name: tensor.clone() for name, tensor in trainer.weights.full.items()}
    final = load_file(trainer.run(tmp_path / "run") / "model.safetensors")
    for name, tensor in before.items():
        assert torch.equal(tensor, final[name]) == name.startswith("encoder."), name


@pytest.mark.parametrize("precision", ["fp32", "bf16_pure"])
def test_it_learns(tmp_path: Path, precision: str) -> None:
    quiet = {"logging": {"every": 0, "evaluate_every": 0}, "checkpointing": {"every": 0}}
    trainer = tiny_trainer(tiny_config(precision=precision, schedule={"steps": 300}, data={"batch_size": 32}, **quiet))
    trainer.run(tmp_path / "run")
    with torch.no_grad():
        assert trainer.objective.evaluate()["error"] < 0.3  # the target's variance is 2


def test_metrics_of_every_kind_are_written(tmp_path: Path) -> None:
    tiny_trainer(tiny_config(logging={"trackers": ["tensorboard"]})).run(tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    train = [record for record in records if record["kind"] == "train"]
    assert [record["step"] for record in train] == list(range(1, 13))
    assert {"loss", "absolute", "lr", "gradient_norm", "samples_per_second"} <= train[0].keys()
    assert train[-1]["lr"] == pytest.approx(1e-3, rel=1e-12)  # floor 0.1 of 1e-2
    evaluations = [record for record in records if record["kind"] == "eval"]
    assert [record["step"] for record in evaluations] == [1, 4, 8, 12]
    assert {record["training"] for record in evaluations} == {0.0}  # eval mode
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_the_description_names_what_is_trained() -> None:
    config = tiny_config(trainable=["output"], optim={"accumulate": 3, "kind": "muon"}, schedule={"warmup": 0.25})
    text = "\n".join(tiny_trainer(config).describe())
    assert "encoder: 0 trained, 144 frozen" in text
    assert "output: 17 trained, 0 frozen" in text
    assert "effective batch: 24 (8 x 3), samples in all: 288" in text
    assert "warm-up steps: 3" in text
    assert "final learning rate: 0.001 / 0.0014 (muon)" in text


def test_the_released_schedule_counts_the_batches_of_a_step(tmp_path: Path) -> None:
    config = tiny_config(optim={"accumulate": 2}, schedule={"kind": "released_linear", "warmup": 0.25})
    trainer = tiny_trainer(config)
    assert "warm-up steps: 6" in "\n".join(trainer.describe())
    trainer.run(tmp_path / "run")
    records = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    rates = [record["lr"] for record in records if record["kind"] == "train"]
    rise, fall = [step / 6 for step in range(7)], [1 - step / 24 for step in range(1, 6)]
    assert rates == pytest.approx([1e-2 * share for share in (*rise, *fall)])


class Breaking(TinyObjective):
    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        loss, metrics = super().loss(batch, step)
        return loss * (float("nan") if step == 9 else 1.0), metrics


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(), Breaking(), TinyFeed(8), device="cpu")
    with pytest.raises(ValueError, match="step 10: the loss is nan"):
        trainer.run(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step-00000004",
        "step-00000008",
    ]
    assert not (tmp_path / "run" / "final").exists()
    again = tiny_trainer(tiny_config())
    again._restore(tmp_path / "run" / "checkpoints" / "step-00000008")
    assert all(bool(tensor.isfinite().all()) for tensor in again.weights.full.values())


class Spoilt(TinyObjective):
    """The loss of some steps is no number."""

    def __init__(self, steps: set[int]) -> None:
        super().__init__()
        self.steps = steps

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        loss, metrics = super().loss(batch, step)
        return loss * (float("inf") if step in self.steps else 1.0), metrics


@pytest.mark.parametrize("precision", ["fp32", "bf16_pure"])
def test_spoilt_steps_are_left_out_and_counted_also_across_a_resume(tmp_path: Path, precision: str) -> None:
    config = tiny_config(precision=precision, optim={"skip_nonfinite": 2}, checkpointing={"every": 4}, ema=0.5)
    trainer = Trainer(config, Spoilt({4, 6, 7}), TinyFeed(8), device="cpu")
    trainer.run(tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    train = [record for record in records if record["kind"] == "train"]
    assert [record["skipped_steps"] for record in train] == [0, 0, 0, 0, 1, 1, 2, 3, 3, 3, 3, 3]
    assert [record["step"] for record in train if record["loss"] is None] == [5, 7, 8]
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.weights.state_dict().values())
    # Steps 8 and 9 are the second and third in a row, with a resume between.
    trainer = Trainer(config, Spoilt({6, 7, 8}), TinyFeed(8), device="cpu")
    remove_folder(tmp_path / "run" / "checkpoints" / "step-00000012")
    with pytest.raises(ValueError, match="step 9: the loss is inf and the gradient norm nan after 2 steps left out"):
        trainer.run(tmp_path / "run")
    assert [path.name for path in complete(tmp_path / "run")] == ["step-00000008"]


def test_a_step_left_out_changes_no_weight(tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(optim={"skip_nonfinite": 1}), Spoilt({0}), TinyFeed(8), device="cpu")
    before = {name: tensor.clone() for name, tensor in trainer.weights.masters.items()}
    trainer.stepper.update([trainer.feed.batch(0)], 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.weights.masters.items())
    assert trainer.optimizer.state_dict() == {}


class Patchy(TinyFeed):
    """Left out ``index`` samples of every batch, it says."""

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        return super().batch(index, share) | {"skipped": index}


def test_samples_that_a_feed_left_out_are_told(tmp_path: Path) -> None:
    trainer = Trainer(tiny_config(optim={"accumulate": 2}), TinyObjective(), Patchy(8), device="cpu")
    trainer.run(tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [r["skipped_samples"] for r in records if r["kind"] == "train"] == [4 * step + 1 for step in range(12)]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("precision", ["fp32", "bf16_pure"])
def test_one_process_is_alone_whatever_the_strategy(strategy: str, precision: str) -> None:
    trainer = tiny_trainer(tiny_config(engine={"strategy": strategy}, precision=precision))
    assert trainer.strategy == "single"


def test_worker_processes_give_the_same_weights(tmp_path: Path) -> None:
    finals = []
    for workers in (0, 1):
        config = tiny_config(data={"workers": workers}, optim={"accumulate": 2})
        finals.append(load_file(tiny_trainer(config).run(tmp_path / str(workers)) / "model.safetensors"))
    for name, tensor in finals[0].items():
        assert torch.equal(tensor, finals[1][name]), name


def test_random_draws_depend_on_seed_and_step_alone() -> None:
    seed_everything(1, 5)
    first = torch.rand(3)
    torch.rand(100)
    seed_everything(1, 5)
    assert torch.equal(first, torch.rand(3))
    seed_everything(1, 6)
    assert not torch.equal(first, torch.rand(3))


def test_devices() -> None:
    assert join("cpu").device.type == "cpu"
    for wrong in ("nonsense", "meta"):
        with pytest.raises(ValueError, match=f"device: .*{wrong}"):
            join(wrong)
