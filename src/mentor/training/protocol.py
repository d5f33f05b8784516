"""What the trainer asks of the thing it trains.

To train something new, subclass ``Objective`` (one loss, optional evaluation, pictures and export) and write a ``Feed``
(batch number -> batch), then name both in ``training/build.py``. The trainer owns everything else: freezing, precision,
accumulation, clipping, schedule, averaging, logging, checkpoints and resuming.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from mentor.training.optim import Group, default_groups

Batch = dict[str, Any]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on ``device``; copies do not wait for each other."""
    return {name: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for name, v in batch.items()}


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes works on: samples ``rank``, ``rank + count``, ..."""

    rank: int = 0
    count: int = 1

    @property
    def part(self) -> slice:
        """Takes this process's samples out of a whole batch's list or array."""
        return slice(self.rank, None, self.count)


WHOLE = Share()


class Feed(Protocol):
    """Makes batches. Nothing may depend on what was asked before: that is what makes a resumed run identical.

    A feed of data that may change between two starts says in an attribute ``data`` what the batches follow from beside the
    recipe, as plain values (how many samples, made of what): a checkpoint remembers it.
    """

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        """Batch number ``index`` (0-based, in forward passes), on the CPU; a pure function of seed and ``index``.

        With several processes each asks for its ``share``; together they get the samples of the whole batch, and random
        numbers that belong to a sample are the same whoever gets it.
        """
        ...


class Objective(Protocol):
    """What is minimised. Subclass it to inherit the defaults below.

    The trainer calls ``loss`` under autocast with the module in train mode, and ``evaluate``, ``sample_grid`` and
    ``export`` without gradients, in eval mode, with the averaged weights if the recipe asks for averaging. Before every
    step the global random generators are seeded by (recipe seed, step, process), so ``torch.rand`` in ``loss`` is
    reproducible. Weights may be sharded: call modules, and look at a weight or its number type in ``forward`` alone.
    """

    module: nn.Module
    """Holds every parameter and buffer to be trained, saved and moved to the device."""
    shareable: bool = True
    """Whether several processes may each take a share of a batch: ``loss`` is a mean over samples or tokens and nothing
    else in the module follows the batch. Every share must use the same trained parameters."""
    shardable: bool = True
    """Whether ``loss`` calls ``module`` itself, which gathers weights that are sharded (``engine.strategy: fsdp``)."""

    frozen: Sequence[nn.Module] = ()
    """Networks outside the module that gradients pass through."""

    frozen_stay: bool = False
    """Whether nothing but the optimiser changes a parameter: then checkpoints need not hold the frozen ones."""

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Mean loss (scalar) of a batch at optimiser step ``step`` (0-based), and detached scalars to log."""
        ...

    def weight(self, batch: Batch) -> float:
        """How many terms ``loss`` averaged (samples, tokens): accumulated batches are weighted by it."""
        return 1.0

    def parameter_groups(self, trainable: dict[str, nn.Parameter]) -> list[Group]:
        """Sorts the trainable parameters into optimiser groups."""
        return default_groups(self.module, trainable)

    def describe(self) -> list[str]:
        """More lines to tell before the first step, for example about the data."""
        return []

    def evaluate(self) -> dict[str, float]:
        """Held-out metrics, name -> number; the same samples at every call."""
        return {}

    def sample_grid(self) -> Image.Image | None:
        """A picture that shows progress; the same content at every call."""
        return None

    def export(self, folder: Path) -> None:
        """Writes the trained weights into the empty ``folder``, in the form other parts of the package load."""
        return
