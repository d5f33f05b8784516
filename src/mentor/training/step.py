"""One optimiser step: the gradient of all batches of all processes as if they were one, clipped, applied or left out."""

from __future__ import annotations

import math
import random
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from mentor.config.run import TrainConfig
from mentor.training.distributed import Processes
from mentor.training.optim import Optimizer
from mentor.training.plan import Strategy
from mentor.training.precision import Precision
from mentor.training.protocol import Batch, Objective, to_device
from mentor.training.schedule import multiplier
from mentor.training.stopping import StopRequest
from mentor.training.weights import Weights


class Stepper:
    """Makes steps, and counts those that were left out: ``skipped`` in all, ``skipped_in_a_row`` just now."""

    def __init__(
        self,
        config: TrainConfig,
        objective: Objective,
        weights: Weights,
        processes: Processes,
        strategy: Strategy,
        precision: Precision,
    ) -> None:
        self.config, self.objective, self.weights, self.precision = config, objective, weights, precision
        self.processes, self.device, self.strategy = processes, processes.device, strategy
        groups = objective.parameter_groups(weights.parameters)
        self.optimizer = Optimizer(config.optim, groups, weights.masters)
        self.skipped = self.skipped_in_a_row = 0
        self.stop = StopRequest()
        self.stops = False
        """Whether some process was told to stop before the last step: known to all after it."""

    def update(self, batches: list[Batch], step: int) -> dict[str, float | Tensor]:
        """Optimiser step ``step`` (0-based) on this process's share of its batches; returns the numbers to log.

        Raises ValueError if the loss or gradient is not finite too often in a row.
        """
        config = self.config
        seed_everything(config.seed, step, self.processes.rank)
        metrics = self._accumulate(batches, step)
        masters = list(self.weights.masters.values())
        if self.strategy == "ddp":
            self._add_up_gradients(masters)
        norm = torch.nn.utils.clip_grad_norm_(masters, config.optim.clip or float("inf"))
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        share = multiplier(step, config.schedule, config.optim.accumulate)
        if self._finite(float(metrics["loss"]), float(norm), step):
            self.optimizer.step(share)
            self.weights.after_step(step)
        self.optimizer.zero_grad()
        counted = {"skipped_steps": float(self.skipped)} if config.optim.skip_nonfinite else {}
        return metrics | {"gradient_norm": norm, "lr": config.optim.lr * share} | counted

    def _finite(self, loss: float, norm: float, step: int) -> bool:
        """Whether a step can be made; counts those that cannot and raises ValueError when there are too many in a row."""
        if math.isfinite(loss) and math.isfinite(norm):
            self.skipped_in_a_row = 0
            return True
        self.skipped += 1
        self.skipped_in_a_row += 1
        allowed = self.config.optim.skip_nonfinite
        if self.skipped_in_a_row > allowed:
            before = f" after {allowed} steps left out" if allowed else ""
            raise ValueError(
                f"step {step + 1}: the loss is {loss} and the gradient norm {norm}{before}; the last checkpoint is "
                "kept. Start the same command again, without --overwrite, with optim.skip_nonfinite=3, which leaves some "
                "steps out, or with a lower optim.lr or precision=fp32 and --accept-changes"
            )
        return False

    def _accumulate(self, batches: list[Batch], step: int) -> dict[str, float | Tensor]:
        """Gradients of the mean loss over all terms of all batches of all processes, as if they were one batch."""
        sizes = [self.objective.weight(batch) for batch in batches]
        everything = torch.tensor(
            [sum(sizes), sum(float(batch.get("skipped", 0)) for batch in batches), self.stop.signal is not None],
            dtype=torch.float64,
        )
        if self.processes.count > 1:
            everything = everything.to(self.device)
            self.processes.add_up([everything])
        terms, left_out, stops = everything.tolist()
        self.stops = bool(stops)
        # FSDP takes the mean over processes where the sum is wanted.
        factor = self.processes.count if self.strategy == "fsdp" else 1
        factor *= len(batches) if self.config.optim.accumulation == "sum" else 1
        total: dict[str, Any] = {}
        for batch, size in zip(batches, sizes, strict=True):
            share = size / terms
            with self.autocast():
                loss, metrics = self.objective.loss(to_device(batch, self.device), step)
            (loss * (share * factor)).backward()
            self.weights.collect_gradients()
            for name, value in ({"loss": loss.detach()} | metrics).items():
                total[name] = total.get(name, 0.0) + value * share
        if self.processes.count > 1:
            sums = torch.stack([torch.as_tensor(v, dtype=torch.float32, device=self.device) for v in total.values()])
            self.processes.add_up([sums])
            total = dict(zip(total, sums.unbind(), strict=True))
        return total | ({"skipped_samples": left_out} if any("skipped" in batch for batch in batches) else {})

    def _add_up_gradients(self, masters: list[Tensor]) -> None:
        """Sums gradients over the processes. One that some process did not need is zero there; one that none needed is none."""
        used = torch.tensor([master.grad is not None for master in masters], dtype=torch.float32, device=self.device)
        self.processes.add_up([used])
        gradients = []
        for master, count in zip(masters, used.tolist(), strict=True):
            if count:
                master.grad = torch.zeros_like(master) if master.grad is None else master.grad
                gradients.append(master.grad)
        self.processes.add_up(gradients)

    def autocast(self) -> AbstractContextManager[Any]:
        """The number type of the forward pass."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()


def seed_everything(seed: int, step: int, rank: int = 0) -> None:
    """Makes every global random generator a function of (seed, step, rank), so that no random state has to be saved."""
    # The first process draws what a process alone draws.
    value = int(np.random.SeedSequence([seed, step, rank] if rank else [seed, step]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - the legacy generator is what other people's code may use
    torch.manual_seed(value)
