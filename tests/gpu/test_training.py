"""Training on a GPU: the CPU's losses, packing, half precision, checkpoints, recomputed activations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mentor.config.sections import MentorObjectiveConfig
from mentor.data.shards import PrecomputedDataset
from mentor.training.feed import MentorFeed
from mentor.training.objective import MentorObjective
from mentor.training.trainer import Trainer
from tests.generation.tiny_bundle import tiny_bundle
from tests.training.runs import Ending, compiled_graphs
from tests.training.tiny import tiny_config
from tests.training.tiny_mentor import processor, rows, write

ALL = ["encoder.connector", "encoder.language", "projector", "decoder", "null_condition"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu") / "shards"
    write(folder, rows(24), rows(6))
    return folder


def trainer(shards: Path, device: str, *, packing: bool = True, end: int | None = None, **changes: Any) -> Trainer:
    """A tiny MENTOR, all but the vision tower trained."""
    config = tiny_config(**({"trainable": ALL, "optim": {"lr": 2e-3}, "logging": {"trackers": []}} | changes))
    train, held_out = (PrecomputedDataset(shards, split) for split in ("train", "held_out"))
    options = MentorObjectiveConfig(condition_dropout=0.2)
    objective = MentorObjective(tiny_bundle(), processor(), options, held_out, packing=packing)
    feed = MentorFeed(train, processor(), batch_size=config.data.batch_size, length_multiple=8, seed=0)
    return Trainer(config, objective, feed if end is None else Ending(feed, end), device=device)


def losses(folder: Path) -> list[float]:
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["kind"] == "train"]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_losses_are_those_of_the_cpu(tmp_path: Path, shards: Path, device: str, packing: bool, kind: str) -> None:
    """1e-3 relative: kernels of a GPU sum in another order, and Muon's iterations are in bfloat16 on a GPU."""
    for name, where in (("here", "cpu"), ("there", device)):
        trainer(shards, where, packing=packing, optim={"lr": 2e-3, "kind": kind}).run(tmp_path / name)
    here, there = (losses(tmp_path / name) for name in ("here", "there"))
    assert there == pytest.approx(here, rel=1e-3 if kind == "adamw" else 2e-2)
    assert here[-1] < here[0]


@pytest.mark.parametrize("precision", ["bf16", "bf16_pure"])
def test_half_precision_follows_single(tmp_path: Path, shards: Path, device: str, precision: str) -> None:
    for name in ("fp32", precision):
        trainer(shards, device, precision=name).run(tmp_path / name)
    assert losses(tmp_path / precision) == pytest.approx(losses(tmp_path / "fp32"), rel=3e-2)


def test_a_stopped_run_goes_on(tmp_path: Path, shards: Path, device: str) -> None:
    """1e-4 relative: sums by atomic additions on a GPU have no fixed order."""
    trainer(shards, device).run(tmp_path / "whole")
    with pytest.raises(ValueError, match="enough"):
        trainer(shards, device, end=7).run(tmp_path / "stopped")
    trainer(shards, device).run(tmp_path / "stopped", resume=True)
    whole, stopped = losses(tmp_path / "whole"), losses(tmp_path / "stopped")
    assert stopped[-5:] == pytest.approx(whole[-5:], rel=1e-4)


def test_recomputed_activations_change_nothing(tmp_path: Path, shards: Path, device: str) -> None:
    for name, wanted in (("kept", False), ("forgotten", True)):
        engine = {"activation_checkpointing": wanted, "emulate_bf16": True}
        trainer(shards, device, engine=engine).run(tmp_path / name)
    assert losses(tmp_path / "forgotten") == pytest.approx(losses(tmp_path / "kept"), rel=1e-4)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler looks at it
@pytest.mark.parametrize("packing", [True, False])
def test_compiled_layers_change_nothing(tmp_path: Path, shards: Path, device: str, packing: bool) -> None:
    torch._dynamo.reset()  # else what another test compiled would do
    for name, wanted in (("plain", False), ("compiled", True)):
        before = compiled_graphs()
        trainer(shards, device, packing=packing, compile=wanted).run(tmp_path / name)
        assert (compiled_graphs() > before) == wanted
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)


def test_frozen_weights_stay_and_the_model_loads(tmp_path: Path, shards: Path, device: str) -> None:
    from mentor.checkpoint.store import load_bundle

    final = trainer(shards, device, precision="bf16_pure").run(tmp_path / "run")
    state, before = load_bundle(final).mentor.state_dict(), tiny_bundle().mentor.state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor.half(), state[name].half())}
    assert not any(name.startswith("encoder.vision") for name in changed)
    parts = ("encoder.connector", "encoder.language", "projector", "decoder", "null_condition")
    assert all(any(name.startswith(part) for name in changed) for part in parts)
