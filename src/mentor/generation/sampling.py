"""From logits to the next token: temperature, top-k, top-p and one random generator for every sample.

Shape letters: B batch, V codebook.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

COLDEST = 1e-6
"""Logits divided by less may leave float32's range, and where they do not, the most likely token is all but certain."""


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Sets everything below the ``k``-th largest logit to minus infinity, ties kept: [B, V] -> [B, V].

    ``k`` <= 0 or >= V changes nothing.
    """
    if k <= 0 or k >= logits.shape[-1]:
        return logits
    threshold = logits.topk(k).values[:, -1:]
    return logits.masked_fill(logits < threshold, -torch.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the smallest set of most likely tokens whose probability reaches ``p``: [B, V] -> [B, V].

    The most likely token always stays. ``p`` >= 1 changes nothing.
    """
    if p >= 1:
        return logits
    ordered, order = logits.sort(descending=True, stable=True)
    before = ordered.softmax(-1).cumsum(-1).roll(1, dims=-1)
    before[:, 0] = 0.0
    dropped = torch.empty_like(before, dtype=torch.bool).scatter_(-1, order, before > p)
    return logits.masked_fill(dropped, -torch.inf)


def sample(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Draws one token a row: float32 [B, V] -> int64 [B].

    temperature: below ``COLDEST`` takes the most likely token; top_k: tokens kept, 0 for all; top_p: probability kept, 1 for
    all; generators: one a row, so that a row's draw does not depend on its neighbours.
    """
    if temperature < COLDEST:
        return logits.argmax(-1)
    logits = keep_top_p(keep_top_k(logits / temperature, top_k), top_p)
    noise = torch.empty_like(logits)
    for row, generator in zip(noise, generators, strict=True):
        row.exponential_(generator=generator)
    noise.clamp_(min=torch.finfo(noise.dtype).tiny)  # a draw of 0, which some devices make, would turn p = 0 into nan
    # The exponential race: argmax of p / e has the distribution p and needs no normalised probabilities.
    return (logits.softmax(-1) / noise).argmax(-1)
