"""The training loop: any ``Objective`` on any ``Feed``, counted in optimiser steps, resumable to the bit.

One process. Nothing here knows what is trained; what a second process would change (gradient averaging, whose samples,
who writes) happens in ``_accumulate``, ``_loader`` and ``run`` alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mentor.config.run import TrainConfig
from mentor.training import checkpointing
from mentor.training.logging import RunLog
from mentor.training.optim import Optimizer
from mentor.training.protocol import Batch, Feed, Objective
from mentor.training.schedule import multiplier, warmup_steps
from mentor.training.weights import Weights, count_parts, freeze


class Trainer:
    """Trains ``objective.module`` as ``config`` says; ``run`` does it all, ``describe`` only tells.

    Raises ValueError if ``config.trainable`` names a part the module does not have.
    """

    def __init__(self, config: TrainConfig, objective: Objective, feed: Feed, *, device: str = "auto") -> None:
        self.config, self.objective, self.feed = config, objective, feed
        self.device = pick_device(device)
        objective.module.to(self.device)
        self.trainable = freeze(objective.module, config.trainable)
        self.weights = Weights(objective.module, self.trainable, half=config.precision == "bf16_pure", ema=config.ema)
        self.optimizer = Optimizer(config.optim, objective.parameter_groups(self.trainable), self.weights.masters)
        self.step = 0

    def describe(self) -> list[str]:
        """What will be trained and how, one line each."""
        config = self.config
        counts = count_parts(self.objective.module)
        effective = config.data.batch_size * config.optim.accumulate
        final = multiplier(config.schedule.steps - 1, config.schedule)
        rates = [f"{config.optim.lr * final:.3g}"]
        if config.optim.kind == "muon":
            rates.append(f"{config.optim.muon_lr * final:.3g} (muon)")
        return [
            f"recipe: {config.name} ({config.objective}), seed {config.seed}, {config.precision}, on {self.device}",
            *(f"{part}: {trained:,} trained, {frozen:,} frozen" for part, (trained, frozen) in counts.items()),
            f"steps: {config.schedule.steps:,}, warm-up steps: {warmup_steps(config.schedule):,}",
            f"effective batch: {effective} ({config.data.batch_size} x {config.optim.accumulate})"
            f", samples in all: {effective * config.schedule.steps:,}",
            f"final learning rate: {' / '.join(rates)}",
            *self.objective.describe(),
        ]

    def run(self, folder: Path, *, overwrite: bool = False, resume: bool = False) -> Path:
        """Trains to the last step, resuming from the last complete checkpoint in ``folder``; returns ``folder/final``.

        Raises ValueError for a folder of another recipe, and when the loss stops being a number.
        """
        config = self.config
        found = checkpointing.open_run(folder, config, overwrite=overwrite, resume=resume)
        if found is not None:
            self._restore(checkpointing.load(found, self.device))
        log = RunLog(
            folder,
            steps=config.schedule.steps,
            start=self.step,
            samples_per_step=config.data.batch_size * config.optim.accumulate,
            tensorboard=config.logging.tensorboard,
        )
        with log:
            for line in self.describe():
                log.say(line)
            if found is not None:
                log.say(f"resumed from {found.name}")
            self._loop(folder, log)
        final = folder / "final"
        self.weights.finish()
        checkpointing.write_folder(final, self.objective.export)
        return final

    def _loop(self, folder: Path, log: RunLog) -> None:
        config, steps = self.config, self.config.schedule.steps
        self.objective.module.train()
        loader = self._loader()
        while self.step < steps:
            metrics = self._update([next(loader) for _ in range(config.optim.accumulate)])
            self.step += 1
            log.step(self.step)
            last = self.step == steps
            if last or _due(self.step, config.logging.every):
                log.train(self.step, {name: float(value) for name, value in metrics.items()})
            paused = log.pause()
            if config.logging.evaluate_every and (
                last or self.step == 1 or _due(self.step, config.logging.evaluate_every)
            ):
                with self.weights.averaged(), self._autocast():
                    log.evaluation(self.step, self.objective.evaluate())
            if config.logging.grid_every and (last or _due(self.step, config.logging.grid_every)):
                with self.weights.averaged(), self._autocast():
                    log.grid(self.step, self.objective.sample_grid())
            if last or _due(self.step, config.checkpointing.every):
                checkpointing.save(folder, self._snapshot(), config.checkpointing.keep)
            log.resume(paused)

    def _update(self, batches: list[Batch]) -> dict[str, float | Tensor]:
        """One optimiser step; returns the numbers to log. Raises ValueError if the loss or gradient is not finite."""
        config = self.config
        seed_everything(config.seed, self.step)
        metrics = self._accumulate(batches)
        self.weights.collect_gradients()
        clip = config.optim.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(list(self.weights.masters.values()), clip)
        if not (np.isfinite(float(metrics["loss"])) and np.isfinite(float(norm))):
            raise ValueError(
                f"step {self.step + 1}: the loss is {float(metrics['loss'])} and the gradient norm {float(norm)}; "
                "the last checkpoint is kept. Lower optim.lr, lengthen schedule.warmup, or use precision=fp32"
            )
        share = multiplier(self.step, config.schedule)
        self.optimizer.step(share)
        self.optimizer.zero_grad()
        self.weights.after_step(self.step)
        return metrics | {"gradient_norm": norm, "lr": config.optim.lr * share}

    def _accumulate(self, batches: list[Batch]) -> dict[str, float | Tensor]:
        """Gradients of the mean loss over all terms of all batches, as if they were one batch."""
        sizes = [self.objective.weight(batch) for batch in batches]
        total: dict[str, Any] = {}
        for batch, size in zip(batches, sizes, strict=True):
            share = size / sum(sizes)
            with self._autocast():
                loss, metrics = self.objective.loss(_to(batch, self.device), self.step)
            (loss * share).backward()
            for name, value in ({"loss": loss.detach()} | metrics).items():
                total[name] = total.get(name, 0.0) + value * share
        return total

    def _loader(self) -> Iterator[Batch]:
        """Batches from the current step on, in order; ``data.workers`` processes make them ahead."""
        from torch.utils.data import DataLoader

        per_step, workers = self.config.optim.accumulate, self.config.data.workers
        order = range(self.step * per_step, self.config.schedule.steps * per_step)
        if not workers:
            return map(self.feed.batch, order)
        return iter(DataLoader(_Indexed(self.feed), batch_size=None, sampler=order, num_workers=workers))

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _snapshot(self) -> checkpointing.Snapshot:
        state = {"recipe": self.config.name, "torch": torch.__version__}
        return checkpointing.Snapshot(self.step, self.weights.state_dict(), self.optimizer.state_dict(), state)

    def _restore(self, snapshot: checkpointing.Snapshot) -> None:
        self.weights.load_state_dict(snapshot.weights)
        self.optimizer.load_state_dict(snapshot.optimizer)
        self.step = snapshot.step


class _Indexed(torch.utils.data.Dataset[Batch]):
    """A feed seen as a map-style dataset, for the loader's worker processes."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    def __getitem__(self, index: int) -> Batch:
        return self.feed.batch(index)


def seed_everything(seed: int, step: int) -> None:
    """Makes every global random generator a function of (seed, step), so that no random state has to be saved."""
    value = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - the legacy generator is what other people's code may use
    torch.manual_seed(value)


def pick_device(name: str) -> torch.device:
    """The named device; ``auto`` takes a GPU if there is one. Raises ValueError for an unknown or absent device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    return device


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for name, v in batch.items()}


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
