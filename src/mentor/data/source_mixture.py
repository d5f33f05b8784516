"""Samples of several sources in given shares: sample i is a pure function of (seed, i), and no order is ever built.

Which source sample i comes from follows from blocks of ``BLOCK`` samples that hold every source as often as its share says, in
an order drawn from (seed, block). So it is known how many samples of a source came before, and that number is the place in the
source's endless shuffled order: epoch after epoch, every record once an epoch (``permuted``). Any number of processes may share
the work, and a run may be resumed anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor.data.example import BadRecord, Example
from mentor.data.permutation import permuted
from mentor.data.rejects import Rejects
from mentor.data.sources import Source

BLOCK = 4096
"""Shares are rounded to this many parts."""
_TRIES = 100


class SourceMixture:
    """Samples of ``sources`` in the shares ``weights``.

    About ``held_out`` records of each source (at most a tenth) are kept apart: they are all that ``split`` "held_out" shows,
    and "train" shows no record with the target of one of them, whatever the source. ``accept`` raises ValueError for a sample
    that the model cannot take. A record that cannot be used gives way to another one of its source and is told to ``rejects``.
    Raises ValueError for shares that cannot be met, and for a source that nothing would be left of.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[float],
        *,
        split: str,
        seed: int,
        held_out: int = 0,
        accept: Callable[[Example], Any] | None = None,
        rejects: Rejects | None = None,
    ) -> None:
        self.sources, self.split, self.seed, self.accept = list(sources), split, seed, accept
        self.rejects = rejects or Rejects(0.0)
        self.quotas = _quotas(weights)
        self._held_out = _held_out(self.sources, held_out)
        self._block = lru_cache(maxsize=4)(self._draw_block)

    @property
    def held(self) -> dict[str, str]:
        """How much each source holds, whatever folder it lies in: what the samples follow from beside the recipe."""
        sources = enumerate(self.sources, 1)
        return {f"source {number} ({Path(source.name).name})": source.held for number, source in sources}

    def where(self, index: int) -> tuple[int, int]:
        """Sample ``index`` -> (which source, how many samples of it came before)."""
        block, slot = divmod(index, BLOCK)
        order, ranks = self._block(block)
        source = int(order[slot])
        return source, block * int(self.quotas[source]) + int(ranks[slot])

    def sample(self, index: int) -> Example:
        """Sample number ``index`` (0 or more). Raises ``TooManyRejected`` beyond the limit of broken records."""
        number, place = self.where(index)
        source = self.sources[number]
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0])
        rng = np.random.default_rng([self.seed, index])
        for attempt in range(_TRIES):
            record = self._chosen(number, place, attempt, rng)
            try:
                example = source.example(record, seed, partial(self._peers, number))
                self._check(example)
            except BadRecord as error:
                self.rejects.bad(source.name, record, str(error))
            else:
                self.rejects.good()
                return example
        raise ValueError(f"{source.name}: {_TRIES} records in a row could not be used")

    def _chosen(self, number: int, place: int, attempt: int, rng: np.random.Generator) -> int:
        """The record that is sample ``place`` of source ``number``; after broken ones, any other of its records."""
        source, apart = self.sources[number], self._held_out[number]
        if not len(source):  # endless: every number makes a sample
            return place + attempt * (1 << 40)
        room = len(apart) if self.split == "held_out" else len(source) - len(apart)
        assert room, "nothing was held out"
        epoch, position = divmod(place, room)
        if attempt:
            return self._record(int(rng.integers(room)), apart)
        key = (self.seed * 65_537 + number) * 1_000_003 + epoch
        return self._record(permuted(position, room, key), apart)

    def _record(self, position: int, apart: NDArray[np.int64]) -> int:
        """The record at a place among those of a source that belong to this split."""
        if self.split == "held_out":
            return int(apart[position])
        # So many records of this split come before each that is held out: no list of the others is made.
        before = apart - np.arange(len(apart))
        return position + int(np.searchsorted(before, position, side="right"))

    def _peers(self, number: int, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of a source's records that belong to this split."""
        return records[np.isin(records, self._held_out[number]) == (self.split == "held_out")]

    def _check(self, example: Example) -> None:
        if self.accept is not None:
            try:
                self.accept(example)
            except ValueError as error:
                raise BadRecord(str(error)) from error

    def _draw_block(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The source of each of a block's samples, and how many of it came before within the block."""
        order = np.repeat(np.arange(len(self.quotas)), self.quotas)
        if len(self.quotas) > 1:
            order = np.random.default_rng([self.seed, block, BLOCK]).permutation(order)
        ranks = np.empty(BLOCK, np.int64)
        for source in range(len(self.quotas)):
            places = np.flatnonzero(order == source)
            ranks[places] = np.arange(len(places))
        return order, ranks

    def __getstate__(self) -> dict[str, object]:
        # The cache cannot be sent to worker processes; each makes its own.
        return {name: value for name, value in self.__dict__.items() if name != "_block"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._block = lru_cache(maxsize=4)(self._draw_block)


def _held_out(sources: Sequence[Source], wanted: int) -> list[NDArray[np.int64]]:
    """Numbers of the records of each source, sorted, that are held out: those whose target is held out of any source."""
    targets = [source.target_numbers() if wanted else np.empty(0, np.int64) for source in sources]
    apart = np.unique(np.concatenate([_first(each, min(wanted, -(-len(each) // 10))) for each in targets]))
    held = [np.flatnonzero(np.isin(each, apart)) for each in targets]
    for source, numbers, each in zip(sources, held, targets, strict=True):
        if len(each) and len(numbers) == len(each):
            different = len(np.unique(each))
            raise ValueError(
                f"{source.name} has {len(each)} records of {different} pictures, too few to hold some out: "
                "add records, or set data.held_out to 0"
            )
    return held


def _first(targets: NDArray[np.int64], records: int) -> NDArray[np.int64]:
    """The targets with the smallest numbers, which so many records draw at most, but always one.

    The numbers are evenly spread, so sources that draw the same pictures choose the same ones.
    """
    different, counts = np.unique(targets, return_counts=True)
    return different[: max(1, int(np.searchsorted(np.cumsum(counts), records, side="right")))]


def _quotas(weights: Sequence[float]) -> NDArray[np.int64]:
    """How many of ``BLOCK`` samples each source gets: the largest remainders are rounded up."""
    shares = np.asarray(weights, float)
    if not len(shares) or not np.isfinite(shares).all() or (shares < 0).any() or not shares.sum():
        raise ValueError(
            f"data.sources: expected finite weights of 0 or more, one of them above 0, got {list(weights)}"
        )
    exact = shares / shares.sum() * BLOCK
    quotas = np.floor(exact).astype(np.int64)
    quotas[np.argsort(quotas - exact, kind="stable")[: BLOCK - int(quotas.sum())]] += 1
    if ((quotas == 0) & (shares > 0)).any():
        raise ValueError(f"data.sources: a weight below 1/{2 * BLOCK} of all cannot be met, got {list(weights)}")
    return quotas
