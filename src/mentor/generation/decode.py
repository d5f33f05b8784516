"""Token by token: prefill, then one decode step for every image token, with classifier-free guidance.

Shape letters: B batch, S condition tokens, L image tokens, De encoder width, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from mentor.config.sampling import GenerationSettings
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
    settings: GenerationSettings,
    *,
    generators: Sequence[torch.Generator],
    on_token: Callable[[int, int], None] | None = None,
    on_row: Callable[[Tensor], None] | None = None,
    compiled: bool = False,
) -> Tensor:
    """Generates the tokens of one image for each condition: [B, S, De], bool [B, S] -> int64 [B, L].

    states, mask: left-padded condition. With guidance the unconditional half of the batch reads the null condition under
    the same mask. generators: one a condition. on_token: called with (tokens done, L) after every token. on_row: called with
    the tokens so far, int64 [B, n], after every row of the picture. What the two raise ends the generation. compiled: run the
    decode step through ``torch.compile`` (seconds to minutes the first time; on a CPU no faster than the eager step, which
    skips the unwritten positions).

    Raises ValueError where the number of generators is not B, and where numbers left the range of the dtype.
    """
    decoder = mentor.decoder
    batch, total = states.shape[0], decoder.config.num_tokens
    if len(generators) != batch:
        raise ValueError(f"every sample needs its own generator: expected {batch}, got {len(generators)}")
    padding = int((~mask).sum(1).min())  # columns that are padding in every row
    states, mask = states[:, padding:], mask[:, padding:]

    guide = settings.cfg_scale != 1
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
    _check_finite(logits)
    for index in range(total):
        if guide:
            logits = guided(logits[:batch], logits[batch:], settings.cfg_scale)
        tokens[:, index] = sample(
            logits,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            generators=generators,
        )
        if on_token is not None:
            on_token(index + 1, total)
        if on_row is not None and (index + 1) % decoder.config.grid == 0:
            on_row(tokens[:, : index + 1])
        if index + 1 == total:
            break
        if guide and 0 <= settings.cfg_interval < index:
            guide, cache = False, cache.first(batch)
            padded = None if padded is None else padded[:batch]
        token = tokens[:, index].repeat(2) if guide else tokens[:, index]
        logits = step(token, torch.tensor(index, device=token.device) if compiled else index, padded, cache)
    _check_finite(logits)  # what is not finite stays so in the cache; to ask at every step would make a GPU wait
    return tokens


def _check_finite(logits: Tensor) -> None:
    if not logits.isfinite().all():
        raise ValueError("the decoder's logits are not finite; bfloat16 and float32 have a wider range")
