"""What the other processes of the tests do: whole runs of tiny models, stopped, slowed down or short of space."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo

from mentor.config.sections import MentorObjectiveConfig
from mentor.data.shards import PrecomputedDataset
from mentor.training import trainer
from mentor.training.feed import MentorFeed
from mentor.training.objective import MentorObjective
from mentor.training.protocol import WHOLE, Batch, Feed, Share
from mentor.training.trainer import Trainer
from tests.generation.tiny_bundle import tiny_bundle
from tests.training.tiny import TinyFeed, TinyObjective, tiny_config
from tests.training.tiny_mentor import processor


class Ending:
    """A feed that breaks off at batch ``end``."""

    def __init__(self, feed: Feed, end: int) -> None:
        self.feed, self.end = feed, end
        self.data = getattr(feed, "data", {})

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        if index >= self.end:
            raise ValueError("enough")
        return self.feed.batch(index, share)


def train_tiny(folder: str, changes: dict[str, Any], end: int | None = None) -> None:
    """The tiny regression; breaks off before batch ``end``."""
    config = tiny_config(**changes)
    _finish(Trainer(config, TinyObjective(), TinyFeed(config.data.batch_size), device="cpu"), folder, end)


def train_unlike(folder: str) -> None:
    """The tiny regression, from other weights in each process."""
    objective = TinyObjective()
    with torch.no_grad():
        objective.module.output.bias += int(os.environ["RANK"])
    Trainer(tiny_config(), objective, TinyFeed(8), device="cpu").run(Path(folder))


def train_apart(folder: str) -> None:
    """The tiny regression where each process has a disk of its own."""
    rank = int(os.environ["RANK"])
    real = trainer.open_run
    trainer.open_run = lambda run, *args, **kwargs: real(Path(f"{folder}-0"), *args, **kwargs)
    Trainer(tiny_config(), TinyObjective(), TinyFeed(8), device="cpu").run(Path(f"{folder}-{rank}"))


def train_mentor(
    folder: str, shards: str, changes: dict[str, Any], end: int | None = None, packing: bool = False
) -> None:
    """A tiny MENTOR on the shards in a folder, all but the vision tower trained."""
    if changes.get("compile"):
        compile_without_a_compiler(setattr)
    config = tiny_config(**({"trainable": ["encoder.connector", "encoder.language", "projector", "decoder"]} | changes))
    train, held_out = (PrecomputedDataset(shards, split) for split in ("train", "held_out"))
    options = MentorObjectiveConfig(condition_dropout=0.3)
    objective = MentorObjective(tiny_bundle(), processor(), options, held_out, packing=packing)
    batch_size = config.data.batch_size
    feed = MentorFeed(train, processor(), batch_size=batch_size, length_multiple=1, seed=0, packing=packing)
    _finish(Trainer(config, objective, feed, device="cpu"), folder, end)
    assert bool(compiled_graphs()) == config.compile


def compiled_graphs() -> int:
    """Graphs that ``torch.compile`` has made in this process."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def compile_without_a_compiler(patch: Callable[[Any, str, Any], None]) -> None:
    """Lets ``torch.compile`` trace, but not generate code, which takes most of the time."""
    real = torch.compile

    def traced(forward: Callable[..., Any], **options: Any) -> Any:
        return real(forward, backend="eager", **options)

    patch(torch, "compile", traced)


class Slow(TinyFeed):
    """Takes its time, so that there are moments between two checkpoints; says when the first batch is asked for."""

    def __init__(self, batch_size: int, sign: Path) -> None:
        super().__init__(batch_size)
        self.sign = sign

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        self.sign.touch()
        time.sleep(0.004)
        return super().batch(index, share)


def train_slowly(folder: str, changes: dict[str, Any], sign: str) -> None:
    """The tiny regression with dropout; touches the file ``sign`` when it trains."""
    config = tiny_config(**changes)
    Trainer(config, TinyObjective(0.2), Slow(config.data.batch_size, Path(sign)), device="cpu").run(Path(folder))


class Holding(TinyFeed):
    """Says when batch 10 is asked for, and gives it when the file ``go`` is there."""

    def __init__(self, batch_size: int, folder: Path) -> None:
        super().__init__(batch_size)
        self.folder = folder

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        if index == 10:
            (self.folder / f"waits-{os.environ.get('RANK', '0')}").touch()
            while not (self.folder / "go").exists():
                time.sleep(0.002)
        return super().batch(index, share)


def train_until_told(folder: str, changes: dict[str, Any], signs: str) -> None:
    """The tiny regression with dropout, which waits before its eleventh step."""
    config = tiny_config(**changes)
    Trainer(config, TinyObjective(0.2), Holding(config.data.batch_size, Path(signs)), device="cpu").run(Path(folder))


class Limiting:
    """A feed that lets no file of this process grow beyond ``limit`` bytes."""

    def __init__(self, feed: Feed, limit: int) -> None:
        self.feed, self.limit = feed, limit

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return self.feed.batch(index, share)


def train_short_of_space(folder: str, changes: dict[str, Any], limit: int) -> None:
    """The tiny regression where no file may grow beyond ``limit`` bytes once training has begun; ends with status 2."""
    config = tiny_config(**changes)
    trainer = Trainer(config, TinyObjective(), TinyFeed(config.data.batch_size), device="cpu")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer.feed = Limiting(trainer.feed, limit)
    try:
        trainer.run(Path(folder))
    except ValueError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        print(error)
        sys.exit(2)


def _finish(trainer: Trainer, folder: str, end: int | None) -> None:
    if end is not None:
        trainer.feed = Ending(trainer.feed, end)
    try:
        trainer.run(Path(folder))
    except ValueError as error:
        if "enough" not in str(error):
            raise
    trainer.processes.wait()
    trainer.processes.leave()
