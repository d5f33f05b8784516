"""A run's folder: whose it is, what may differ when a run goes on, and what may not."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mentor.config.load import from_dict, merge, nested, to_dict
from mentor.config.run import TrainConfig
from mentor.files import PARTIAL
from mentor.training.run_folder import STATE, check_run, open_run
from tests.training.tiny import tiny_config


def changed(**values: Any) -> TrainConfig:
    """The tiny recipe with other values; the dots of keys are written as __."""
    plain = to_dict(tiny_config())
    for key, value in values.items():
        plain = merge(plain, nested(key.replace("__", "."), value))
    return from_dict(TrainConfig, plain)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that has made a checkpoint."""
    open_run(tmp_path / "run", tiny_config())
    (tmp_path / "run" / "checkpoints" / "step-00000003").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "step-00000003" / STATE).write_text("{}")
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data__workers", 3),
        ("data__reject_limit", 0.5),
        ("data__rejects", "elsewhere.jsonl"),
        ("optim__skip_nonfinite", 3),
        ("compile", True),
        ("logging__every", 7),
        ("engine__strategy", "fsdp"),
    ],
)
def test_what_changes_no_result_may_differ(run: Path, key: str, value: object) -> None:
    """Above all what the messages of a broken run advise to change."""
    found = open_run(run, changed(**{key: value}))
    assert found is not None and found.name == "step-00000003"


@pytest.mark.parametrize(("key", "value"), [("optim__lr", 0.5), ("precision", "bf16"), ("data__folder", "moved")])
def test_other_changes_must_be_accepted(run: Path, key: str, value: object) -> None:
    other = changed(**{key: value})
    with pytest.raises(ValueError, match=r"another --out, pass --accept-changes to go on with these, or --overwrite"):
        open_run(run, other, changes=False)
    with pytest.raises(ValueError, match=r"another --out, or --overwrite to delete that run"):
        open_run(run, other)
    assert open_run(run, other, changes=True) is not None
    assert open_run(run, other) is not None, "the folder's recipe is the new one"


@pytest.mark.parametrize(
    ("key", "value"), [("seed", 5), ("data__batch_size", 3), ("data__packing", False), ("optim__kind", "muon")]
)
def test_what_all_else_follows_from_may_not_change(run: Path, key: str, value: object) -> None:
    with pytest.raises(
        ValueError, match=rf"another recipe \(.*{key.replace('__', '.')}: .*another --out, or --overwrite"
    ):
        open_run(run, changed(**{key: value, "optim__lr": 0.5}), changes=True)
    assert open_run(run, dataclasses.replace(tiny_config())) is not None


def test_a_run_that_is_to_be_replaced_stays_until_it_is(run: Path) -> None:
    """What is checked before the slow building deletes and writes nothing."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    other = changed(seed=9)
    assert check_run(run, other, overwrite=True) is None
    assert check_run(run, changed(optim__lr=0.5), changes=True) is not None
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    open_run(run, other, overwrite=True)
    assert not (run / "checkpoints").exists()


def test_two_processes_do_not_train_in_one_folder(run: Path) -> None:
    with ExitStack() as held:
        open_run(run, tiny_config(), held=held)
        partial = run / "checkpoints" / f"{PARTIAL}step-00000004"
        partial.mkdir()
        started = multiprocessing.get_context("fork").Process(target=_opens, args=(run,))
        started.start()
        started.join(60)
        assert started.exitcode == 7
        assert partial.is_dir(), "the other's checkpoint was thrown away while it was being written"
    with ExitStack() as held:
        assert open_run(run, tiny_config(), held=held) is not None


def _opens(run: Path) -> None:
    try:
        with ExitStack() as held:
            open_run(run, tiny_config(), held=held)
    except ValueError as error:
        os._exit(7 if "another process trains there" in str(error) else 1)
    os._exit(0)
