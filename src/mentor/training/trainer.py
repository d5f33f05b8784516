"""The training loop: any ``Objective`` on any ``Feed``, counted in optimiser steps, resumable to the bit.

One process or several: each works on its share of every batch, and the sum of their gradients is that of the whole batch.
Nothing here knows what is trained.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentor.checkpoint.adapters import ADAPTER_FOLDER, Adapter, merged
from mentor.config.run import TrainConfig
from mentor.training import checkpointing
from mentor.training.blocks import checkpoint_activations, compile_blocks, recomputed_blocks, trained_blocks
from mentor.training.distributed import join
from mentor.training.loader import Loader
from mentor.training.logging import RunLog
from mentor.training.lora import add_adapters, is_adapter
from mentor.training.means import Means
from mentor.training.plan import choose_strategy, describe
from mentor.training.precision import usable
from mentor.training.protocol import Feed, Objective
from mentor.training.run_folder import open_run, write_folder
from mentor.training.same_data import check_data, data_of
from mentor.training.sharding import shard
from mentor.training.step import Stepper
from mentor.training.stopping import Stopped
from mentor.training.weights import Weights, freeze


class Trainer:
    """Trains ``objective.module`` as ``config`` says; ``run`` does it all, ``describe`` only tells.

    Raises ValueError if ``config.trainable`` names a part the module does not have, or if the objective or the batch
    cannot be shared by the processes that were started.
    """

    def __init__(self, config: TrainConfig, objective: Objective, feed: Feed, *, device: str = "auto") -> None:
        self.config, self.objective, self.feed = config, objective, feed
        self.processes = join(device)
        self.device = self.processes.device
        if config.lora is not None:
            add_adapters(objective.module, config.lora, config.seed)
        self.trainable = freeze(objective.module, config.trainable, is_adapter)
        blocks = trained_blocks(objective.module)
        self.precision = usable(config.precision, self.device, emulate=config.engine.emulate_bf16)
        half = self.precision == "bf16_pure"
        self.strategy = choose_strategy(
            config, objective.module, self.processes, shareable=objective.shareable, shardable=objective.shardable
        )

        def split(module: torch.nn.Module) -> None:
            shard(module, blocks, self.processes, half=half)

        self.processes.check_same(self.trainable.values())
        sharded = self.strategy == "fsdp"
        if not sharded:
            objective.module.to(self.device)
        self.weights = Weights(
            objective.module,
            self.trainable,
            half=half,
            ema=config.ema,
            split=split if sharded else None,
            frozen_stay=objective.frozen_stay,
        )
        objective.module.to(self.device)  # what is not sharded
        self.trainable = self.weights.parameters
        if config.compile:
            compile_blocks(blocks)
        if config.engine.activation_checkpointing:
            recomputed = [block for part in (objective.module, *objective.frozen) for block in recomputed_blocks(part)]
            checkpoint_activations(recomputed)
        self.stepper = Stepper(config, objective, self.weights, self.processes, self.strategy, self.precision)
        self.optimizer = self.stepper.optimizer
        self.step, self.means = 0, Means()

    def describe(self) -> list[str]:
        """What will be trained and how, one line each."""
        return describe(self.config, self.objective.module, self.processes, self.strategy, self.objective.describe())

    def run(self, folder: Path, *, overwrite: bool = False, resume: bool = False, changes: bool | None = None) -> Path:
        """Trains to the last step, resuming from the last complete checkpoint in ``folder``; returns ``folder/final``.

        Raises ValueError for a folder of another recipe, data (``changes``: see ``check_run``) or process, when the loss stops
        being a number, when a checkpoint cannot be written or read, and when a batch cannot be made; the last complete
        checkpoint is kept. ``Stopped`` after a signal that ends it (``training.stopping``), with a checkpoint of the last step.
        """
        flags: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "changes": changes}
        with ExitStack() as held:
            found = self.processes.first(lambda: open_run(folder, self.config, held=held, **flags))
            return self._run(folder, found, changes)

    def _run(self, folder: Path, found: Path | None, changes: bool | None) -> Path:
        processes = self.processes
        processes.check_all(folder.is_dir(), f"see {folder}: all must share the run's folder, also on other machines")
        notes = [] if found is None else [*self._restore(found, changes), f"resumed from {found.name}"]
        with self._log(folder) if processes.main else nullcontext() as log:
            if log is not None:
                for line in [*self.describe(), *notes]:
                    log.say(line)
            self._loop(folder, log)
        final = folder / "final"
        whole = self.weights.finish(keep=processes.main)
        processes.first(lambda: write_folder(final, lambda out: self._export(whole, out)))
        return final

    def _export(self, whole: nn.Module, folder: Path) -> None:
        """The finished model, adapters merged; where they are all that was trained, they lie in files of their own too."""
        lora = self.config.lora is not None
        adapter = Adapter.of(whole) if lora and not self.config.trainable else None
        self.objective.module = merged(whole) if lora else whole
        self.objective.export(folder)
        if adapter is not None:
            adapter.save(folder / ADAPTER_FOLDER)

    def _loop(self, folder: Path, log: RunLog | None) -> None:
        config, steps, accumulate = self.config, self.config.schedule.steps, self.config.optim.accumulate
        self.objective.module.train()
        loader = Loader(
            self.feed,
            range(self.step * accumulate, steps * accumulate),
            share=self.processes.share,
            workers=config.data.workers,
            pin=self.device.type == "cuda",
        )
        with loader.watched(), self.stepper.stop.listening():
            while self.step < steps:
                metrics = self.stepper.update(loader.take(accumulate), self.step)
                self.step += 1
                if log is not None:
                    self._tell(log, metrics)
                if self.stepper.stops and self.step < steps:
                    self._save(folder, {})
                    if log is not None:
                        log.say(
                            f"told to stop; saved after step {self.step}: start the same command again, without --overwrite, "
                            "to go on"
                        )
                    raise Stopped(self.stepper.stop)
                paused = log.pause() if log is not None else 0.0
                self._evaluate_and_save(folder, log)
                if log is not None:
                    log.resume(paused)

    def _tell(self, log: RunLog, metrics: dict[str, float | Tensor]) -> None:
        log.step(self.step)
        self.means.add(
            {name: float(value) for name, value in metrics.items()}, counts=not self.stepper.skipped_in_a_row
        )
        if self.stepper.skipped_in_a_row:
            loss, norm = float(metrics["loss"]), float(metrics["gradient_norm"])
            log.say(f"step {self.step}  left out: loss {loss}, gradient norm {norm} ({self.stepper.skipped} in all)")
        if self._due(self.config.logging.every):
            log.train(self.step, self.means.take())

    def _evaluate_and_save(self, folder: Path, log: RunLog | None) -> None:
        logging, saving = self.config.logging, self.config.checkpointing
        save = self._due(saving.every, always=True)
        evaluate = logging.evaluate_every > 0 and (self.step == 1 or self._due(logging.evaluate_every))
        draw = self._due(logging.grid_every)
        found: dict[str, float] = {}
        if evaluate or draw or (save and saving.best is not None):
            with self._averaged(), self.stepper.autocast():
                if log is not None and (evaluate or saving.best is not None):
                    found = self.objective.evaluate()
                    log.evaluation(self.step, found)
                if log is not None and draw:
                    log.grid(self.step, self.objective.sample_grid())
            self.processes.first(lambda: checkpointing.check_best(self.config.checkpointing, found))
        if save:
            self._save(folder, found)

    def _save(self, folder: Path, metrics: dict[str, float]) -> None:
        state = {"recipe": self.config.name, "torch": torch.__version__, "metrics": metrics} | self._counters()
        checkpointing.save(folder, self.step, self._tensors(), state, self.config.checkpointing, self.processes)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Within the block the objective's module, whole in the first process, holds the averaged weights, in eval mode."""
        trained = self.objective.module
        with self.weights.averaged(keep=self.processes.main) as module:
            # Decode steps may read weights past the adapters.
            self.objective.module = merged(copy.deepcopy(module)) if self.config.lora is not None else module
            try:
                yield
            finally:
                self.objective.module = trained

    def _due(self, every: int, *, always: bool = False) -> bool:
        """Whether a thing of every ``every`` steps is due now; at the last step it is, unless that is 0 and not ``always``."""
        return (every > 0 and self.step % every == 0) or (
            self.step == self.config.schedule.steps and (always or every > 0)
        )

    def _log(self, folder: Path) -> RunLog:
        config = self.config
        return RunLog(
            folder,
            recipe=config.name,
            steps=config.schedule.steps,
            start=self.step,
            samples_per_step=config.data.batch_size * config.optim.accumulate,
            trackers=config.logging.trackers,
        )

    def _counters(self) -> dict[str, Any]:
        """With the step, all that the place in the data, the schedule and the random states follow from."""
        return {
            "frozen_sum": self.weights.frozen_sum,
            "data": data_of(self.feed),
            "seed": self.config.seed,
            "next_batch": self.step * self.config.optim.accumulate,
            "skipped": self.stepper.skipped,
            "skipped_in_a_row": self.stepper.skipped_in_a_row,
            "means": self.means.state,
        }

    def _tensors(self) -> dict[str, Tensor]:
        memory = {checkpointing.OPTIMIZER + name: tensor for name, tensor in self.optimizer.state_dict().items()}
        return self.weights.state_dict() | memory

    def _restore(self, folder: Path, changes: bool | None = None) -> list[str]:
        """Takes up a checkpoint; returns what must be told of the data, whose ``changes`` may be accepted."""
        state = checkpointing.read_state(folder)
        # A finished run draws nothing more.
        more = state["step"] < self.config.schedule.steps
        notes = check_data(self.feed, state, folder.name, changes=changes) if more else []
        if not math.isclose(state.get("frozen_sum", 0.0), self.weights.frozen_sum, rel_tol=1e-9):
            raise ValueError(
                f"{folder} belongs to other frozen weights than those that the run starts from now: has init.bundle changed?"
            )
        memory = checkpointing.load(folder, self.weights.state_dict(), self.optimizer.blank, self.processes)
        self.optimizer.load_state_dict(memory)
        self.weights.loaded()
        self.step, self.means = state["step"], Means(state.get("means"))
        self.stepper.skipped, self.stepper.skipped_in_a_row = state["skipped"], state["skipped_in_a_row"]
        return notes
