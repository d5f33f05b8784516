"""Two processes train what one trains: the same losses and weights, with whole and with sharded models."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mentor.files import PARTIAL
from mentor.training.run_folder import complete
from tests.training import runs
from tests.training.tiny_mentor import rows, write
from tests.training.together import begin, losses, tensors, together

pytestmark = pytest.mark.integration

QUIET = {"logging": {"every": 1, "evaluate_every": 6}, "checkpointing": {"every": 3, "keep": 9}}


def _same(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    for kind in ("train", "eval"):
        expected, found = losses(one, kind), losses(other, kind)
        assert expected.keys() == found.keys()
        for step, numbers in expected.items():
            assert found[step] == pytest.approx(numbers, rel=tolerance, abs=tolerance), step
    expected_state, found_state = tensors(complete(one)[-1]), tensors(complete(other)[-1])
    assert expected_state.keys() == found_state.keys()
    for name, tensor in expected_state.items():
        if name != "buffers.seen":  # each process counts its own samples
            assert torch.allclose(tensor, found_state[name], atol=tolerance), name


# An odd batch, so that one process has more samples than the other.
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"batch_size": 7}},
        {"data": {"batch_size": 7}, "optim": {"accumulate": 3}, "ema": 0.5, "trainable": ["body", "output"]},
        {"data": {"batch_size": 8}, "optim": {"kind": "muon"}},
        {"trainable": [], "lora": {"targets": ["body"], "rank": 2, "dora": True}},
    ],
    ids=["plain", "accumulated", "muon", "dora"],
)
def test_two_processes_do_what_one_does(tmp_path: Path, strategy: str, changes: dict[str, Any]) -> None:
    changes = QUIET | changes | {"engine": {"strategy": strategy}}
    together(1, runs.train_tiny, str(tmp_path / "one"), changes, logs=tmp_path)
    together(2, runs.train_tiny, str(tmp_path / "two"), changes, logs=tmp_path)
    # Muon's products are made in bfloat16, where a last bit decides about 1e-3 of an update.
    _same(tmp_path / "one", tmp_path / "two", tolerance=2e-3 if "muon" in str(changes) else 1e-5)
    assert f"processes: 2 ({strategy})" in (tmp_path / "train_tiny-0.log").read_text()


UNEVEN = {"data": {"batch_size": 5}, "optim": {"accumulate": 2, "lr": 3e-3}}


def test_prompts_of_unequal_length_and_dropped_ones_weigh_the_same(tmp_path: Path) -> None:
    write(tmp_path / "shards", rows(24), rows(6))
    together(1, runs.train_mentor, str(tmp_path / "one"), str(tmp_path / "shards"), QUIET | UNEVEN, logs=tmp_path)
    for strategy in ("ddp", "fsdp"):
        changes = QUIET | UNEVEN | {"engine": {"strategy": strategy, "activation_checkpointing": True}}
        together(2, runs.train_mentor, str(tmp_path / strategy), str(tmp_path / "shards"), changes, logs=tmp_path)
        _same(tmp_path / "one", tmp_path / strategy)


def test_without_padding_too(tmp_path: Path) -> None:
    """One process has short prompts and the other prompts of every length: read group by group, their calls would differ."""
    write(tmp_path / "shards", rows(24), rows(6))
    shards, changes = str(tmp_path / "shards"), QUIET | {"data": {"batch_size": 4}, "optim": {"lr": 3e-3}}
    together(1, runs.train_mentor, str(tmp_path / "one"), shards, changes, None, True, logs=tmp_path)
    for strategy in ("ddp", "fsdp"):
        parts = changes | {"engine": {"strategy": strategy}}
        together(2, runs.train_mentor, str(tmp_path / strategy), shards, parts, None, True, logs=tmp_path)
        _same(tmp_path / "one", tmp_path / strategy)


def test_compiled_layers_may_be_sharded_and_forget_what_they_computed(tmp_path: Path) -> None:
    parts = {"trainable": ["encoder.connector", "projector", "decoder"]}
    write(tmp_path / "shards", rows(24), rows(6))
    together(
        1, runs.train_mentor, str(tmp_path / "one"), str(tmp_path / "shards"), QUIET | UNEVEN | parts, logs=tmp_path
    )
    engine = {"engine": {"strategy": "fsdp", "activation_checkpointing": True}, "compile": True}
    together(
        2,
        runs.train_mentor,
        str(tmp_path / "two"),
        str(tmp_path / "shards"),
        QUIET | UNEVEN | parts | engine,
        logs=tmp_path,
    )
    _same(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("counts", [(2, 1, 2), (1, 2, 1)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, counts: tuple[int, ...]) -> None:
    together(1, runs.train_tiny, str(tmp_path / "whole"), QUIET | UNEVEN, logs=tmp_path)
    for count, end, strategy in zip(counts, (6, 12, None), ("fsdp", "fsdp", "ddp"), strict=True):
        changes = QUIET | UNEVEN | {"engine": {"strategy": strategy}}
        together(count, runs.train_tiny, str(tmp_path / "parts"), changes, end, logs=tmp_path)
    _same(tmp_path / "whole", tmp_path / "parts")


def test_bfloat16_is_computed_with_float32_masters_wherever_they_are(tmp_path: Path) -> None:
    write(tmp_path / "shards", rows(12), rows(3))
    changes = QUIET | {"precision": "bf16_pure", "optim": {"lr": 1e-4}, "data": {"batch_size": 6}}
    together(1, runs.train_mentor, str(tmp_path / "one"), str(tmp_path / "shards"), changes, logs=tmp_path)
    for strategy in ("ddp", "fsdp"):
        parts = changes | {"engine": {"strategy": strategy}}
        together(2, runs.train_mentor, str(tmp_path / strategy), str(tmp_path / "shards"), parts, logs=tmp_path)
        expected, found = losses(tmp_path / "one"), losses(tmp_path / strategy)
        for step, numbers in expected.items():
            assert found[step]["loss"] == pytest.approx(numbers["loss"], rel=5e-3), step
        weight = tensors(complete(tmp_path / strategy)[-1])["weights.projector.fc1.weight"]
        assert weight.dtype == torch.float32
        assert not torch.equal(weight, weight.bfloat16().float())


def test_the_death_of_one_process_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    """One of two is killed as soon as a save begins; what was saved before is whole."""
    changes = {"schedule": {"steps": 30}, "checkpointing": {"every": 1}, "engine": {"strategy": "fsdp"}}
    run = tmp_path / "killed"
    for victim in (0, 1):
        before = complete(run)[-1:]
        processes = begin(2, runs.train_tiny, str(run), changes, logs=tmp_path)
        end = time.monotonic() + 60
        while time.monotonic() < end and (
            complete(run)[-1:] == before or not any((run / "checkpoints").glob(f"{PARTIAL}step-*"))
        ):
            time.sleep(0.0005)
        assert time.monotonic() < end, "no save began"
        processes[victim][0].kill()
        for process, _ in processes:
            process.join(60)
            assert process.exitcode not in (0, None), "it ended well, or waits for the dead one for ever"
    assert not (run / "final").exists()
    for folder in (run, tmp_path / "whole"):
        together(2, runs.train_tiny, str(folder), changes, logs=tmp_path)
    assert losses(run) == losses(tmp_path / "whole")
    expected = tensors(complete(tmp_path / "whole")[-1])
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors(complete(run)[-1]).items())


def test_a_full_disk_and_a_wrong_folder_are_told_once(tmp_path: Path) -> None:
    run, changes = (
        tmp_path / "run",
        QUIET | {"engine": {"strategy": "fsdp"}, "logging": {"every": 0, "evaluate_every": 0}},
    )
    together(2, runs.train_tiny, str(run), changes, 6, logs=tmp_path)
    before = [path.name for path in complete(run)]
    with pytest.raises(
        RuntimeError, match="the checkpoint of step 9 cannot be written .*it goes on from step-00000006"
    ):
        together(2, runs.train_short_of_space, str(run), changes, 8000, logs=tmp_path / "full")
    assert [path.name for path in complete(run)] == before
    assert not list((run / "checkpoints").glob(f"{PARTIAL}*"))
    with pytest.raises(RuntimeError, match=r"holds a run of another recipe \(seed: 0 -> 7\)"):
        together(2, runs.train_tiny, str(run), changes | {"seed": 7}, logs=tmp_path / "wrong")
    assert "another recipe" not in (tmp_path / "wrong" / "train_tiny-1.log").read_text()


def test_processes_that_start_from_other_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the processes do not start from the same weights"):
        together(2, runs.train_unlike, str(tmp_path / "run"), logs=tmp_path)
    assert not (tmp_path / "run").exists()


def test_processes_that_do_not_share_the_folder_are_told(tmp_path: Path) -> None:
    """Each would keep its part of every checkpoint on a disk of its own, and none would be whole."""
    with pytest.raises(RuntimeError, match=r"processes \[1\] do not see .*run-0|processes \[1\] do not see .*run-1"):
        together(2, runs.train_apart, str(tmp_path / "run"), logs=tmp_path)
