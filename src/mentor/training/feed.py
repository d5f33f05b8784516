"""Batches of precomputed samples, in an order that follows from (seed, epoch) alone.

Shape letters: B batch, S condition tokens, L image tokens, M images of all prompts, P visual tokens, Dv their width,
T tokens of a query text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mentor.data.processor import Processor
from mentor.data.shards import PrecomputedDataset, Row
from mentor.training.protocol import WHOLE, Batch, Share

_POOL_BATCHES = 32
"""Padded batches that are sorted by length together: enough to waste little padding, few enough to stay well shuffled."""


class MentorFeed:
    """Shuffled batches, the shorter prompts of each first; every epoch shows every sample at most once.

    Without ``packing`` a batch holds prompts of similar length, which are padded little. Raises ValueError if there are fewer
    samples than a batch needs.
    """

    def __init__(
        self,
        dataset: PrecomputedDataset,
        processor: Processor,
        *,
        batch_size: int,
        length_multiple: int,
        seed: int,
        packing: bool = False,
    ) -> None:
        if len(dataset) < batch_size:
            raise ValueError(f"the shards hold {len(dataset)} samples, fewer than one batch of {batch_size}")
        self.dataset, self.processor = dataset, processor
        self.batch_size, self.length_multiple, self.seed = batch_size, length_multiple, seed
        self.packing = packing
        self.data = {"samples": len(dataset), "origin": dataset.manifest["origin"]}
        self.batches_per_epoch = len(dataset) // batch_size
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        """This process's share of batch ``index``, see ``collate``; with ``chances`` float32 [B], a random number in [0, 1)
        for each sample.
        """
        epoch, place = divmod(index, self.batches_per_epoch)
        rows = [self.dataset[int(i)] for i in self._order(epoch)[place][share.part]]
        chances = np.random.default_rng([self.seed, index, 1]).random(self.batch_size, dtype=np.float32)
        batch = collate(rows, self.processor, self.length_multiple)
        return batch | {"chances": torch.from_numpy(chances[share.part].copy())}

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        """Sample numbers [batches, B] of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        kept = rng.permutation(len(self.dataset))[: self.batches_per_epoch * self.batch_size]
        lengths = self.dataset.lengths
        if self.packing:
            # Nothing is padded, so a batch keeps its mix of tasks; sorted, every n-th sample of it is a fair share.
            batches = kept.reshape(-1, self.batch_size)
            return np.take_along_axis(batches, np.argsort(lengths[batches], axis=1, kind="stable"), axis=1)
        pools = np.split(kept, range(_POOL_BATCHES * self.batch_size, len(kept), _POOL_BATCHES * self.batch_size))
        ordered = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        return rng.permutation(ordered.reshape(-1, self.batch_size))

    def __getstate__(self) -> dict[str, object]:
        # The cache cannot be sent to worker processes; each makes its own.
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._order = lru_cache(maxsize=2)(self._draw_order)


def collate(rows: Sequence[Row], processor: Processor, length_multiple: int = 1) -> Batch:
    """Rows as one batch.

    input_ids int64 [B, S] and attention_mask bool [B, S], right-padded to a multiple of ``length_multiple`` (at most
    the model's context), lengths [B] their sizes; features float16 [M, P, Dv], tokens int64 [B, L], object_mask bool [B, L],
    tasks [B] names; for a Query-Former query_ids int64 [M, T] and query_mask bool [M, T].
    """
    ids = [row.ids.tolist() for row in rows]
    queries = [query.tolist() for row in rows for query in row.queries]
    return collate_prompts(ids, queries, processor, length_multiple) | {
        "features": torch.cat([row.features for row in rows]),
        "tokens": torch.stack([row.codes for row in rows]),
        "object_mask": torch.stack([row.object_mask for row in rows]),
        "tasks": [row.task for row in rows],
    }


def collate_prompts(
    input_ids: Sequence[Sequence[int]], queries: Sequence[Sequence[int]], processor: Processor, length_multiple: int = 1
) -> Batch:
    """The prompts' part of a batch, see ``collate``: ids of B prompts, and of what to look for in each of their M images."""
    ids, mask = processor.pad(input_ids)
    longest = ids.shape[1]
    length = max(longest, min(-(-longest // length_multiple) * length_multiple, processor.config.context))
    extra = (0, length - longest)
    batch = {
        "input_ids": torch.nn.functional.pad(ids, extra, value=processor.config.language.pad_token_id),
        "attention_mask": torch.nn.functional.pad(mask, extra, value=False),
        "lengths": [len(prompt) for prompt in input_ids],
    }
    query_ids, query_mask = processor.pad_queries(queries)
    return batch if query_ids is None else batch | {"query_ids": query_ids, "query_mask": query_mask}
