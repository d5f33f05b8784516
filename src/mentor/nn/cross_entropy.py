"""The cross-entropy of a linear head without its logits: they are made a few rows at a time, in both directions.

All logits of a batch of pictures, their softmax and its gradient are by far the largest tensors of a training step (16
pictures of 256 tokens, 8,192 codes: 134 MB each in float32), and on a CPU writing them takes longer than multiplying.

Shape letters: N rows, D width, V classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mentor.nn.streaming import StreamingLinear

_ELEMENTS = 2**21
"""Logits at a time: 8 MB in float32 stay in a processor's cache (measured best of 2^19 to 2^23)."""

_PLAIN: list[list[object]] = [[nn.Linear, nn.Parameter], [StreamingLinear, nn.Parameter]]
"""Heads, and kinds of their weights, that are nothing more: adapters are, and weights that are spread over devices."""


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, targets)
        parts = zip(x.split(_rows(weight)), targets.split(_rows(weight)), strict=True)
        return torch.cat([F.cross_entropy((part @ weight.t()).float(), to, reduction="none") for part, to in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, targets = ctx.saved_tensors
        rows = _rows(weight)
        grad_x = torch.empty_like(x)
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            slopes = (x[part] @ weight.t()).float().softmax(-1)
            slopes.scatter_add_(1, targets[part, None], slopes.new_full((len(slopes), 1), -1.0))
            slopes = slopes.mul_(gradients[0][part, None]).to(x.dtype)
            torch.mm(slopes, weight, out=grad_x[part])
            if grad_weight is not None:
                grad_weight += slopes.t() @ x[part]
        return grad_x, None if grad_weight is None else grad_weight.to(weight.dtype), None


def _rows(weight: Tensor) -> int:
    return max(1, _ELEMENTS // len(weight))


def linear_cross_entropy(x: Tensor, head: nn.Module, targets: Tensor) -> Tensor:
    """Cross-entropy in nats of ``head(x)``, float32 [N]: x [N, D], targets int64 [N] in 0..V-1.

    A plain linear head on a CPU is gone through in parts; any other one is asked for all its logits.
    """
    weight: Any = getattr(head, "weight", None)
    if (
        [type(head), type(weight)] in _PLAIN
        and getattr(head, "bias", None) is None
        and x.is_cpu
        and x.dtype is weight.dtype
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    ):
        return _LinearCrossEntropy.apply(x, weight, targets)
    return F.cross_entropy(head(x).float(), targets, reduction="none")
