"""What a recipe comes to on the processes that were started: how they share the model, what is told before the first step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from mentor.config.run import TrainConfig
from mentor.training.distributed import Processes
from mentor.training.precision import usable
from mentor.training.schedule import multiplier, warmup_steps
from mentor.training.weights import count_parts

Strategy = Literal["single", "ddp", "fsdp"]

_ROOM = 0.6
"""Share of a GPU's memory that weights, gradients and moments may take; the rest is for activations."""


def choose_strategy(
    config: TrainConfig, module: nn.Module, processes: Processes, *, shareable: bool = True, shardable: bool = True
) -> Strategy:
    """How the processes share a module whose trained parameters want gradients. See ``EngineConfig.strategy``, and for
    ``shareable`` and ``shardable`` ``Objective``.

    Raises ValueError for a recipe that cannot be shared or sharded.
    """
    if processes.count == 1:
        return "single"
    if not shareable:
        raise ValueError(f"the {config.objective} objective is trained by one process; start it without a launcher")
    if processes.count > config.data.batch_size:
        raise ValueError(f"data.batch_size {config.data.batch_size} is too small for {processes.count} processes")
    wanted = config.engine.strategy
    if wanted == "auto":
        asked = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        wanted = "fsdp" if asked or not _fits(config, module, processes.device) else "ddp"
    if wanted == "fsdp" and not shardable:
        raise ValueError(f"the {config.objective} objective cannot be sharded; set engine.strategy=ddp")
    return wanted


def _fits(config: TrainConfig, module: nn.Module, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    counts = count_parts(module).values()
    trained, frozen = (sum(part) for part in zip(*counts, strict=True))
    half = config.precision == "bf16_pure"
    # float32 weight, gradient and two moments; a bfloat16 copy and its gradient; the average.
    per_trained = 16 + 4 * half + 4 * (config.ema > 0)
    needed = trained * per_trained + frozen * (2 if half else 4)
    return needed <= _ROOM * torch.cuda.get_device_properties(device).total_memory


def _precision(config: TrainConfig, device: torch.device) -> str:
    found = usable(config.precision, device, emulate=config.engine.emulate_bf16)
    if found == config.precision:
        return found
    return f"{found} (this processor has no bfloat16 arithmetic for {config.precision})"


def describe(
    config: TrainConfig, module: nn.Module, processes: Processes, strategy: Strategy, more: Sequence[str]
) -> list[str]:
    """What will be trained and how, one line each; ``more``: what the objective says."""
    counts = count_parts(module)
    accumulate = config.optim.accumulate
    effective = config.data.batch_size * accumulate
    final = multiplier(config.schedule.steps - 1, config.schedule, accumulate)
    rates = [f"{config.optim.lr * final:.3g}"]
    if config.optim.kind == "muon":
        rates.append(f"{config.optim.muon_lr * final:.3g} (muon)")
    return [
        f"recipe: {config.name} ({config.objective}), seed {config.seed}, {_precision(config, processes.device)}, on "
        f"{processes.device}",
        f"processes: {processes.count} ({strategy})",
        *(f"{part}: {trained:,} trained, {frozen:,} frozen" for part, (trained, frozen) in counts.items()),
        f"steps: {config.schedule.steps:,}, warm-up steps: {warmup_steps(config.schedule, accumulate):,}",
        f"effective batch: {effective} ({config.data.batch_size} x {accumulate}), samples in all: "
        f"{effective * config.schedule.steps:,}",
        f"final learning rate: {' / '.join(rates)}",
        *more,
    ]
