"""Told to stop, a run saves the step at hand, whichever of its processes got the signal, and goes on to the same bits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from mentor.training.run_folder import complete
from mentor.training.stopping import StopRequest
from tests.training import runs
from tests.training.together import begin, losses, start

STEPS = 60


def changes(**other: Any) -> dict[str, Any]:
    return {"schedule": {"steps": STEPS}, "logging": {"every": 1}, "checkpointing": {"every": 1000}} | other


def wait_for(path: Path, patience: float = 60) -> None:
    end = time.monotonic() + patience
    while not path.exists():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_to_the_whole_job_saves_and_nothing_is_lost(
    tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    options = changes(data={"workers": workers})
    arguments = (options, str(tmp_path))
    process = start(runs.train_until_told, str(tmp_path / "run"), *arguments, log=tmp_path / "log")
    wait_for(tmp_path / "waits-0")
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        each.send_signal(number)
    (tmp_path / "go").touch()
    process.join(60)
    assert process.exitcode == 128 + number, (tmp_path / "log").read_text()
    (saved,) = complete(tmp_path / "run")
    step = int(saved.name.removeprefix("step-"))
    assert 0 < step <= 12  # a worker is up to two batches ahead
    assert list(losses(tmp_path / "run")) == list(range(1, step + 1))
    assert f"saved after step {step}" in (tmp_path / "log").read_text()

    for run in ("run", "whole"):
        again = start(runs.train_until_told, str(tmp_path / run), *arguments, log=tmp_path / "log")
        again.join(120)
        assert again.exitcode == 0, (tmp_path / "log").read_text()
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    made, expected = (tmp_path / run / "final" / "model.safetensors" for run in ("run", "whole"))
    assert made.read_bytes() == expected.read_bytes()


@pytest.mark.integration
@pytest.mark.parametrize("times", [1, 2])
def test_one_of_two_processes_gets_it_and_both_stop(tmp_path: Path, times: int) -> None:
    """Once, or again as a launcher passes it on."""
    processes = begin(2, runs.train_until_told, str(tmp_path / "run"), changes(), str(tmp_path), logs=tmp_path)
    for rank in range(2):
        wait_for(tmp_path / f"waits-{rank}")
    for _ in range(times):
        os.kill(processes[1][0].pid or 0, signal.SIGUSR1)
        time.sleep(0.1)
    (tmp_path / "go").touch()
    for process, log in processes:
        process.join(60)
        assert process.exitcode in (128 + signal.SIGUSR1, 128 + signal.SIGTERM), log.read_text()
    assert len(complete(tmp_path / "run")) == 1


def test_handlers_come_back_and_a_second_signal_ends_the_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    request = StopRequest()
    with request.listening():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.signal is signal.SIGUSR1
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before
