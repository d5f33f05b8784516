"""Batches in order, with and without worker processes, and what is said when one cannot be made."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mentor.training.loader import Loader
from mentor.training.protocol import WHOLE, Batch, Share
from mentor.training.trainer import Trainer
from tests.training.tiny import TinyFeed, TinyObjective, tiny_config


class Broken(TinyFeed):
    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        if index == 3:
            raise ValueError("shard 7 holds no sample 12")
        return super().batch(index, share)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_from_where_they_are_asked(workers: int) -> None:
    feed = TinyFeed(6)
    loader = Loader(feed, range(2, 6), share=Share(1, 2), workers=workers)
    batches = [*loader.take(3), *loader.take(1)]
    for index, batch in zip(range(2, 6), batches, strict=True):
        assert torch.equal(batch["x"], feed.batch(index)["x"][1::2])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_cannot_be_made_is_named(workers: int) -> None:
    loader = Loader(Broken(4), range(6), share=WHOLE, workers=workers)
    loader.take(3)
    with pytest.raises(ValueError, match="^batch 3 cannot be made: shard 7 holds no sample 12$"):
        loader.take(1)


class Deadly(TinyFeed):
    """The worker that is asked for batch 9 is killed, as by a machine out of memory."""

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        if index == 9:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return super().batch(index, share)


@pytest.mark.integration
# torch's signal handler may raise while a collection of garbage calls back: that one is lost, the next one tells.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dead_worker_is_told_and_the_run_can_go_on(tmp_path: Path) -> None:
    config = tiny_config(data={"workers": 1})
    trainer = Trainer(config, TinyObjective(), Deadly(8), device="cpu")
    with pytest.raises(
        ValueError,
        match=r"a data worker died while batch \d+ was due \(DataLoader worker \(pid.* (is killed|exited unexpectedly)",
    ):
        trainer.run(tmp_path / "run")
    again = Trainer(config, TinyObjective(), TinyFeed(8), device="cpu")
    again.run(tmp_path / "run")
    assert again.step == 12


def test_a_worker_that_dies_while_it_hands_over_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's signal handler speaks while the loader waits for it; where it does not, the loader itself does."""

    def breaking() -> Iterator[Batch]:
        raise ConnectionResetError(104, "Connection reset by peer")
        yield {}

    def told(seconds: float) -> None:
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    for sleep, words in ((told, "is killed by signal"), (lambda seconds: None, "broke off")):
        loader = Loader(TinyFeed(4), range(2), share=WHOLE, workers=0)
        loader._batches = breaking()
        monkeypatch.setattr("mentor.training.loader.time.sleep", sleep)
        with pytest.raises(ValueError, match=f"a data worker died while batch 0 was due .*{words}"), loader.watched():
            loader.take(1)


def test_other_errors_are_not_taken_for_a_dead_worker() -> None:
    loader = Loader(TinyFeed(4), range(2), share=WHOLE, workers=0)
    with pytest.raises(RuntimeError, match="^shapes$"), loader.watched():
        raise RuntimeError("shapes")


@pytest.mark.parametrize("closing", [False, True])
def test_a_worker_that_dies_during_a_save_is_no_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closing: bool
) -> None:
    def dying(descriptor: int) -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")
        finally:
            if closing:
                raise RuntimeError("unexpected pos 628 vs 598")  # as closing a file does that was cut off

    trainer = Trainer(tiny_config(), TinyObjective(), TinyFeed(8), device="cpu")
    monkeypatch.setattr("os.fsync", dying)
    with pytest.raises(ValueError, match=r"a data worker died while batch 4 was due \(DataLoader worker \(pid 1\)"):
        trainer.run(tmp_path / "run")
