"""Attention over samples that lie one after the other in one row, without a padded position anywhere.

Shape letters: N positions of all samples, T positions of one sample, H heads, K head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 128
"""Queries that are worked on together on a CPU: keys after them are not even multiplied (measured best of 64 to 512)."""
_LONGEST_PLAIN = 1024
"""Samples up to this length take plain products on a CPU, which are faster than the fused kernel up to there."""


@dataclass(frozen=True)
class Segments:
    """How long each sample of a row is: ``lengths`` add up to N; ``places`` int64 [N] say where the positions lie in a batch
    of such samples padded on the right, [B * longest]."""

    lengths: tuple[int, ...]
    places: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Segments:
        """Segments of these lengths, at least one, each at least 1."""
        sizes = torch.tensor(lengths, device="cpu")
        padding = sizes.max() - sizes
        places = torch.arange(sum(lengths), device="cpu") + (padding.cumsum(0) - padding).repeat_interleave(sizes)
        return cls(tuple(lengths), places.to(device, non_blocking=True))


def attend_packed(queries: Tensor, keys: Tensor, values: Tensor, segments: Segments) -> Tensor:
    """Causal attention within each segment: three of [N, H, K] -> [N, H, K]."""
    if queries.device.type != "cpu":
        return attend_padded(queries, keys, values, segments)
    parts = zip(*(x.transpose(0, 1).split(segments.lengths, dim=1) for x in (queries, keys, values)), strict=True)
    return torch.cat([_attend(*part).transpose(0, 1) for part in parts])


def attend_padded(queries: Tensor, keys: Tensor, values: Tensor, segments: Segments) -> Tensor:
    """The same as one fused call over segments padded on the right, where causal attention never looks: no mask is needed.

    q0 | k0
    q1 | k0 k1
    q2 | k0 k1 k2
     - | k0 k1 k2 -     left out afterwards
    """
    batch, longest = len(segments.lengths), max(segments.lengths)

    def padded(x: Tensor) -> Tensor:
        rows = x.new_zeros(batch * longest, *x.shape[1:]).index_copy(0, segments.places, x)
        return rows.unflatten(0, (batch, longest)).transpose(1, 2)

    attended = F.scaled_dot_product_attention(padded(queries), padded(keys), padded(values), is_causal=True)
    return attended.transpose(1, 2).flatten(0, 1).index_select(0, segments.places)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One sample, [H, T, K] each -> [H, T, K]."""
    length = queries.shape[1]
    if length > _LONGEST_PLAIN or queries.dtype == torch.float32:
        return F.scaled_dot_product_attention(queries[None], keys[None], values[None], is_causal=True)[0]
    queries = queries * queries.shape[-1] ** -0.5
    chunks = -(-length // _CHUNK)
    bounds = [length * number // chunks for number in range(chunks + 1)]
    attended = []
    for start, end in pairwise(bounds):
        mask = torch.full((end - start, end), -torch.inf, dtype=queries.dtype, device=queries.device).triu_(start + 1)
        logits = torch.baddbmm(mask, queries[:, start:end], keys[:, :end].transpose(1, 2))
        attended.append(logits.softmax(-1) @ values[:, :end])
    return torch.cat(attended, dim=1)
