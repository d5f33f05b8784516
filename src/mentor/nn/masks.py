"""Left padding of the condition and the attention mask over condition and image tokens.

Shape letters: B batch, S condition tokens, L image tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def left_pad(states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Moves the valid rows to the end, in order, and zeroes the rest.

    The condition's last token must stand right before the first image token, whatever the length of the prompt.

        states a b c . .   ->   0 0 a b c        mask 1 1 1 0 0   ->   0 0 1 1 1

    states: [B, S, D]; mask: bool [B, S], true where a row is valid. Returns the same shapes.
    """
    order = mask.long().argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    states = states.gather(1, order[..., None].expand_as(states))
    return states * mask[..., None], mask


def causal_prefix_mask(prefix_mask: Tensor, num_image_tokens: int) -> Tensor:
    """Who may look at whom: bool [B, 1, S+L, S+L], true where the row (query) sees the column (key).

    Everything is causal, the condition too; nobody sees padding; a padded row sees itself alone, so that its softmax
    is defined. For S = 4 with one padded row, and L = 3::

                     key   p c c c | i i i
        query  p (padded)  1 . . . | . . .
               c           . 1 . . | . . .
               c           . 1 1 . | . . .
               c           . 1 1 1 | . . .    <- predicts image token 0
               i           . 1 1 1 | 1 . .    <- predicts image token 1
               i           . 1 1 1 | 1 1 .
               i           . 1 1 1 | 1 1 1

    prefix_mask: bool [B, S], left-padded; num_image_tokens: L.
    """
    length = prefix_mask.shape[1] + num_image_tokens
    visible = torch.nn.functional.pad(prefix_mask, (0, num_image_tokens), value=True)[:, None, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=prefix_mask.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=prefix_mask.device)
    return causal & visible | itself


def attention_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as numbers to add to attention logits: 0 where true, minus infinity where false."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)
