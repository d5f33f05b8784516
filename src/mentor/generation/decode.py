"""Token by token: prefill, then one decode step for every image token, with classifier-free guidance.

Shape letters: B batch, S condition tokens, L image tokens, De encoder width, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mentor.generation.guidance import guided
from mentor.generation.sampling import sample
from mentor.models.decoder import Decoder


class Conditioned(Protocol):
    """What generation needs of a ``Mentor``."""

    decoder: Decoder

    def prefix(self, states: Tensor, mask: Tensor, drop: Tensor | None = None) -> Tensor: ...


@torch.inference_mode()
def generate_tokens(
    mentor: Conditioned,
    states: Tensor,
    mask: Tensor,
    *,
    cfg_scale: float,
    temperature: float,
    top_k: int,
    top_p: float,
    generators: Sequence[torch.Generator],
    cfg_interval: int = -1,
    on_token: Callable[[int, int], None] | None = None,
    compiled: bool = False,
) -> Tensor:
    """Generates the tokens of one image for each condition: [B, S, De], bool [B, S] -> int64 [B, L].

    states, mask: left-padded condition. cfg_scale: guidance, 1 for none; the unconditional half of the batch reads
    the null condition under the same mask. cfg_interval: token 0 and the ``cfg_interval + 1`` after it are guided,
    the rest is not; -1 guides all. temperature, top_k, top_p: see ``sample``. generators: one a condition.
    on_token: called with (tokens done, L) after every token. compiled: run the decode step through ``torch.compile``
    (seconds to minutes the first time; on a CPU no faster than the eager step, which skips the unwritten positions).

    Raises ValueError where the number of generators is not B or a setting is out of range.
    """
    decoder = mentor.decoder
    batch, total = states.shape[0], decoder.config.num_tokens
    _check(batch, cfg_scale, cfg_interval, temperature, top_p, generators)
    padding = int((~mask).sum(1).min())  # columns that are padding in every row
    states, mask = states[:, padding:], mask[:, padding:]

    guide = cfg_scale != 1
    drop = torch.zeros(batch, dtype=torch.bool, device=mask.device)
    if guide:
        states, mask, drop = states.repeat(2, 1, 1), mask.repeat(2, 1), torch.cat((drop, ~drop))
    prefix = mentor.prefix(states, mask, drop)
    cache = decoder.empty_cache(len(prefix), prefix.shape[1])
    # The eager step is cheaper without a mask; the compiled one has static shapes and hides the unwritten part with it.
    padded = None if bool(mask.all()) and not compiled else mask
    step = torch.compile(decoder.decode) if compiled else decoder.decode

    tokens = torch.empty(batch, total, dtype=torch.int64, device=prefix.device)
    logits = decoder.prefill(prefix, mask, cache)
    for index in range(total):
        if guide:
            logits = guided(logits[:batch], logits[batch:], cfg_scale)
        tokens[:, index] = sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, generators=generators)
        if on_token is not None:
            on_token(index + 1, total)
        if index + 1 == total:
            break
        if guide and 0 <= cfg_interval < index:
            guide, cache = False, cache.first(batch)
            padded = None if padded is None else padded[:batch]
        token = tokens[:, index].repeat(2) if guide else tokens[:, index]
        logits = step(token, torch.tensor(index, device=token.device) if compiled else index, padded, cache)
    return tokens


def _check(
    batch: int,
    cfg_scale: float,
    cfg_interval: int,
    temperature: float,
    top_p: float,
    generators: Sequence[torch.Generator],
) -> None:
    if len(generators) != batch:
        raise ValueError(f"every sample needs its own generator: expected {batch}, got {len(generators)}")
    if cfg_scale < 1:
        raise ValueError(f"cfg_scale must be at least 1 (1 is no guidance), got {cfg_scale}")
    if cfg_interval < -1:
        raise ValueError(f"cfg_interval must be a decode step or -1 (guide every token), got {cfg_interval}")
    if temperature < 0:
        raise ValueError(f"temperature must be at least 0 (0 takes the most likely token), got {temperature}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1] (1 keeps every token), got {top_p}")
