"""The learning rate as a share of its peak: linear warm-up, then cosine, linear or no decay to a floor."""

from __future__ import annotations

import math

from mentor.config.sections import ScheduleConfig


def warmup_steps(config: ScheduleConfig, accumulate: int = 1) -> int:
    """Optimiser steps of the warm-up, between 1 and the whole run; ``accumulate`` batches make a step."""
    return min(max(1, round(_warmup(config, accumulate))), config.steps)


def multiplier(step: int, config: ScheduleConfig, accumulate: int = 1) -> float:
    """Share of the peak learning rate at optimiser step ``step`` (0 to steps - 1).

    The peak is reached at the last warm-up step and the floor exactly at the last step (paper 3.1: linear warm-up over
    5 % of the steps, then cosine).

    The ``released_*`` kinds are the released code's schedule. With N = steps x ``accumulate`` (the batches of the run) and
    W = warmup x N the share is s / W up to step s = W, so the first step changes nothing; then, with p = (s - W) / N,
    floor + (1 - floor) (1 + cos(pi min(p, 1))) / 2 for the cosine, and 1 - p for the line, which has no floor. As s counts
    steps and N batches, and p is a share of N rather than of N - W, a run ends far above the floor.
    """
    if config.released:
        return _released(step, config, accumulate)
    warmup, last = warmup_steps(config), config.steps - 1
    if step < warmup and step < last:
        return (step + 1) / warmup
    if config.kind == "constant":
        return 1.0
    start = max(warmup - 1, round(config.decay_from * last))
    progress = 1.0 if step >= last else max(0.0, (step - start) / max(1, last - start))
    fall = progress if config.kind == "linear" else 0.5 * (1 - math.cos(math.pi * progress))
    return config.floor * fall + (1 - fall)


def _released(step: int, config: ScheduleConfig, accumulate: int) -> float:
    warmup = _warmup(config, accumulate)
    if warmup > 0 and step <= warmup:
        return step / warmup
    progress = (step - warmup) / (config.steps * accumulate)
    if config.kind == "released_linear":
        return 1 - progress
    return config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def _warmup(config: ScheduleConfig, accumulate: int) -> float:
    """Length of the warm-up in steps; not a whole number where it is given as a share."""
    total = config.steps * (accumulate if config.released else 1)
    return config.warmup if config.warmup >= 1 else config.warmup * total
