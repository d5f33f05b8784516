"""The processes that train one model together: which one this is, what it runs on, and what all of them add up.

``torchrun`` and ``accelerate launch`` start them; without a launcher there is one. The process group and the devices are
accelerate's; what is shared between processes is decided by the trainer alone.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor

from mentor.nn.device import resolve_device
from mentor.training.protocol import Share

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: the first one evaluates, draws pictures and exports while the others wait."""
_BUCKET = 1 << 25
"""Numbers that are added up in one message (float32: 128 MB): few messages, little extra memory."""


@dataclass(frozen=True)
class Processes:
    """Process ``rank`` of ``count``, computing on ``device``."""

    rank: int
    count: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process tells, evaluates and writes what is written once."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """The part of each batch that this process works on."""
        return Share(self.rank, self.count)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes, which must give tensors of the same shapes and type."""
        if self.count == 1 or not tensors:
            return
        start, sizes = 0, [tensor.numel() for tensor in tensors]
        while start < len(tensors):
            end = start + 1
            while end < len(tensors) and sum(sizes[start : end + 1]) <= _BUCKET:
                end += 1
            flat = torch.cat([tensor.detach().flatten() for tensor in tensors[start:end]])
            torch.distributed.all_reduce(flat)
            for tensor, total in zip(tensors[start:end], flat.split(sizes[start:end]), strict=True):
                tensor.detach().copy_(total.view_as(tensor))
            start = end

    def check_same(self, tensors: Iterable[Tensor]) -> None:
        """Raises ValueError unless all processes have the same tensors, up to rounding: each builds the model for itself."""
        if self.count == 1:
            return
        own = sum(float(tensor.detach().double().abs().sum()) for tensor in tensors)
        found: list[float] = [0.0] * self.count
        torch.distributed.all_gather_object(found, own)
        if not math.isclose(min(found), max(found), rel_tol=1e-9):
            raise ValueError(
                f"the processes do not start from the same weights (sums {found}); do all see the same files?"
            )

    def check_all(self, good: bool, what: str) -> None:
        """Raises ValueError in every process unless ``good`` holds in all of them; ``what`` some do not do."""
        if self.count == 1:
            return
        found: list[bool] = [False] * self.count
        torch.distributed.all_gather_object(found, good)
        if not all(found):
            raise ValueError(f"processes {[rank for rank, fine in enumerate(found) if not fine]} do not {what}")

    def first(self, work: Callable[[], T]) -> T:
        """What ``work`` gives in the first process, handed to all.

        A ValueError or OSError of ``work`` ends the other processes with status 2, so that it is told once.
        """
        if self.count == 1:
            return work()
        outcome: list[T | bool | None] = [None, False]
        try:
            if self.main:
                outcome = [work(), True]
        finally:
            torch.distributed.broadcast_object_list(outcome, src=0)
        if not outcome[1]:
            sys.exit(2)
        return outcome[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Returns when all processes have come here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def leave(self) -> None:
        """Ends the process group; nothing can be shared after it."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()


def join(device: str = "auto") -> Processes:
    """This process's place among those a launcher started, or alone.

    Raises ValueError for a device that cannot be used.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(0, 1, resolve_device(device))
    from accelerate import PartialState

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device {device}: each of several processes takes its own device; use auto, cuda or cpu")
    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    state = PartialState(cpu=on_cpu, backend="gloo" if on_cpu else None, timeout=_PATIENCE)
    if state.num_processes != int(os.environ["WORLD_SIZE"]):
        raise ValueError(
            f"{os.environ['WORLD_SIZE']} processes were launched, but {state.num_processes} found each other"
        )
    return Processes(state.process_index, state.num_processes, torch.device("cpu") if on_cpu else state.device)
