"""Batches in order, made ahead by worker processes, and what is said when one of them dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from mentor.training.protocol import Batch, Feed, Share
from mentor.training.stopping import ignore_signals


@dataclass(frozen=True)
class _Failed:
    """Stands for a batch that a feed could not make; exceptions lose their message on the way out of a worker."""

    reason: str


class _Indexed(torch.utils.data.Dataset[Batch | _Failed]):
    """A feed seen as a map-style dataset."""

    def __init__(self, feed: Feed, share: Share) -> None:
        self.feed, self.share = feed, share

    def __getitem__(self, index: int) -> Batch | _Failed:
        try:
            return self.feed.batch(index, self.share)
        except (ValueError, OSError) as error:
            return _Failed(f"batch {index} cannot be made: {error}")


class Loader:
    """The batches numbered ``order`` of a feed, this process's share of each; ``workers`` processes make them ahead.

    Raises ValueError, naming the batch, when the feed does.
    """

    def __init__(self, feed: Feed, order: range, *, share: Share, workers: int, pin: bool = False) -> None:
        from torch.utils.data import DataLoader

        dataset = _Indexed(feed, share)
        self.order = order
        self.delivered = 0
        self._batches: Iterator[Batch | _Failed] = (
            iter(
                DataLoader(
                    dataset,
                    batch_size=None,
                    sampler=order,
                    num_workers=workers,
                    pin_memory=pin,
                    worker_init_fn=ignore_signals,
                )
            )
            if workers
            else map(dataset.__getitem__, order)
        )

    def take(self, count: int) -> list[Batch]:
        """The next ``count`` batches."""
        return [self._next() for _ in range(count)]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block the death of a worker, which torch tells at any moment, is a ValueError that says what to do."""
        try:
            yield
        except RuntimeError as error:
            death = _death(error)
            if death is None:
                raise
            waiting = self.order[min(self.delivered, len(self.order) - 1)]
            raise ValueError(
                f"a data worker died while batch {waiting} was due ({' '.join(str(death).split())}). Out of memory? Lower "
                "data.workers; start the same command again, without --overwrite, to go on from the last checkpoint"
            ) from error

    def _next(self) -> Batch:
        try:
            batch = next(self._batches)
        except (ConnectionError, EOFError) as error:
            # A worker that dies while it hands a batch over. Torch hears of its death a moment later, and tells it from here.
            time.sleep(5)
            raise RuntimeError(f"DataLoader worker broke off ({error})") from error
        if isinstance(batch, _Failed):
            raise ValueError(batch.reason)
        self.delivered += 1
        return batch


def _death(error: BaseException | None) -> BaseException | None:
    """What torch says of a dead worker, if that is what the error came of: half-written files fail once more when closed."""
    while error is not None and "DataLoader worker" not in str(error):
        error = error.__context__
    return error
