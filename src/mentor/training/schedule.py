"""The learning rate as a share of its peak: linear warm-up, then cosine, linear or no decay to a floor."""

from __future__ import annotations

import math

from mentor.config.run import ScheduleConfig


def warmup_steps(config: ScheduleConfig) -> int:
    """Optimiser steps of the warm-up, between 1 and the whole run."""
    steps = config.warmup if config.warmup >= 1 else config.warmup * config.steps
    return min(max(1, round(steps)), config.steps)


def multiplier(step: int, config: ScheduleConfig) -> float:
    """Share of the peak learning rate at optimiser step ``step`` (0 to steps - 1).

    The peak is reached at the last warm-up step and the floor exactly at the last step (paper 3.1: linear warm-up over
    5 % of the steps, then cosine).
    """
    warmup, last = warmup_steps(config), config.steps - 1
    if step < warmup and step < last:
        return (step + 1) / warmup
    if config.kind == "constant":
        return 1.0
    start = max(warmup - 1, round(config.decay_from * last))
    progress = 1.0 if step >= last else max(0.0, (step - start) / max(1, last - start))
    fall = progress if config.kind == "linear" else 0.5 * (1 - math.cos(math.pi * progress))
    return config.floor * fall + (1 - fall)
