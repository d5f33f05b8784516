"""How pictures are sampled: the numbers a user may turn, checked once; a model's configuration has its own defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

LARGEST_SEED = 2**63 - 1
"""Generators take twice as much: numbers of samples and pictures are added to a seed."""


@dataclass(frozen=True)
class GenerationSettings:
    """Sampling settings. Raises ``ValueError`` for what is no number, or one outside its range."""

    cfg_scale: float = 1.5
    """Strength of classifier-free guidance (paper 2.1): 1 turns it off, larger follows the prompt more closely."""
    temperature: float = 1.0
    """Divides the logits: below 1 safer, above 1 wilder; below 1e-6 always takes the likeliest token."""
    top_k: int = 0
    """Only the ``top_k`` likeliest tokens may be drawn; 0 means all."""
    top_p: float = 1.0
    """Only the likeliest tokens whose probabilities add up to ``top_p`` may be drawn; 1 means all."""
    cfg_interval: int = -1
    """Token 0 and this many plus one after it are guided, the rest is not; -1 guides all."""

    def __post_init__(self) -> None:
        for name in ("top_k", "cfg_interval"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        for name in ("cfg_scale", "temperature", "top_p"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | Real):
                raise ValueError(f"{name}: expected a number, got {value!r}")
            object.__setattr__(self, name, value if isinstance(value, int) else float(value))
        ranges = {
            "cfg_scale": (self.cfg_scale, self.cfg_scale >= 1, "a finite number of 1 or more (1 turns guidance off)"),
            "temperature": (self.temperature, self.temperature >= 0, "a finite number of 0 or more"),
            "top_k": (self.top_k, self.top_k >= 0, "0 or more (0 means all tokens)"),
            "top_p": (self.top_p, 0 < self.top_p <= 1, "more than 0 and at most 1"),
            "cfg_interval": (self.cfg_interval, self.cfg_interval >= -1, "-1 or more (-1 guides all tokens)"),
        }
        for label, (given, inside, expected) in ranges.items():
            if not (inside and (isinstance(given, int) or math.isfinite(given))):
                raise ValueError(f"{label}: expected {expected}, got {given}")


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """A whole number of any kind, numpy's too, as Python's, which JSON takes; ValueError for others and below ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name}: expected a whole number, got {value!r}")
    if least is not None and int(value) < least:
        raise ValueError(f"{name}: expected {least} or more, got {value}")
    return int(value)
