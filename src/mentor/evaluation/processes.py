"""The processes that share an evaluation: ``torchrun`` or ``accelerate launch`` start them, one paints when nobody did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long a process waits for the slowest one; a launcher ends all of them when one dies."""


@dataclass(frozen=True)
class Processes:
    """Process ``rank`` of ``count``."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    """Which one of this machine: the number of its GPU."""

    @property
    def main(self) -> bool:
        """Whether this process scores, tells and writes the report."""
        return self.rank == 0

    def gather(self, mine: T) -> list[T]:
        """What every process has, in their order, in all of them; waits for the slowest."""
        if self.count == 1:
            return [mine]
        everything: list[T | None] = [None] * self.count
        torch.distributed.all_gather_object(everything, mine)
        return everything  # type: ignore[return-value]


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that the launcher's variables (RANK, WORLD_SIZE, LOCAL_RANK, ...) name.

    Raises ``ValueError`` when the variables are not numbers that fit each other.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    words = [os.environ.get(name, default) for name, default in zip(names, ("0", "1", "0"), strict=True)]
    if not all(word.isdigit() for word in words) or not int(words[0]) < int(words[1]):
        told = ", ".join(f"{name}={word}" for name, word in zip(names, words, strict=True))
        raise ValueError(f"expected whole numbers with RANK below WORLD_SIZE from the launcher, got {told}")
    rank, count, local = map(int, words)
    if count == 1:
        yield ALONE
        return
    # Gloo everywhere: only small Python objects travel, and it needs no GPU.
    torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    try:
        yield Processes(rank, count, local)
    finally:
        torch.distributed.destroy_process_group()
