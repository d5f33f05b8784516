"""Classifier-free guidance (Ho & Salimans 2022; paper 2.1)."""

from __future__ import annotations

from torch import Tensor


def guided(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Logits pushed away from what the decoder would say without a condition; same shape as both arguments.

    scale: 1 returns the conditional logits, larger values follow the prompt more closely.
    """
    return unconditional + (conditional - unconditional) * scale
