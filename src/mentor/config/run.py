"""A whole training run: the sections of its recipe (a YAML file under assets/recipes) and what must hold between them.

Imports no torch. ``mentor train RECIPE optim.lr=3e-4`` changes single values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from mentor.config.data import DataConfig
from mentor.config.sampling import LARGEST_SEED
from mentor.config.sections import (
    CheckpointConfig,
    EngineConfig,
    InitConfig,
    LoggingConfig,
    LoraConfig,
    MentorObjectiveConfig,
    ModelChoice,
    OptimConfig,
    ScheduleConfig,
    TokenizerObjectiveConfig,
)

_TERMS = ("l1", "l2", "perceptual", "commitment", "adversarial")
"""Weights of the image tokenizer's losses."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole recipe."""

    name: str
    objective: Literal["mentor", "caption", "image_tokenizer"]
    stage: Literal["stage0", "rope", "stage1", "stage2", "later"] | None = None
    """Which of the paper's trainings this is: what the answers to the conflicts go by (``config.variants``)."""
    variant: Literal["fixed", "paper", "as_released"] = "fixed"
    """Whose answers to the conflicts the values are."""
    seed: int = 0
    precision: Literal["fp32", "bf16", "bf16_pure"] = "fp32"
    """``bf16``: autocast. ``bf16_pure``: bfloat16 weights in the forward pass, float32 masters in the optimiser. Both are
    ``fp32`` on a processor that would only emulate them, which is told (``engine.emulate_bf16``)."""
    compile: bool = False
    """Training steps go through ``torch.compile``, layer by layer."""
    ema: float = 0.0
    """Decay of the running average of the weights; evaluation and the exported model use the average. 0: none."""
    trainable: tuple[str, ...] = ("",)
    """Prefixes of module names that are trained; everything else is frozen, the vision tower always. The empty prefix is the
    whole module."""
    lora: LoraConfig | None = None
    """Adapters are trained besides what ``trainable`` names, which may then be nothing: ``trainable: []``."""
    model: ModelChoice = field(default_factory=ModelChoice)
    init: InitConfig = field(default_factory=InitConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    checkpointing: CheckpointConfig = field(default_factory=CheckpointConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    mentor: MentorObjectiveConfig = field(default_factory=MentorObjectiveConfig)
    tokenizer: TokenizerObjectiveConfig = field(default_factory=TokenizerObjectiveConfig)

    def __post_init__(self) -> None:
        positive = {
            "schedule.steps": self.schedule.steps,
            "data.batch_size": self.data.batch_size,
            "data.length_multiple": self.data.length_multiple,
            "data.samples": self.data.samples,
            "optim.accumulate": self.optim.accumulate,
            "checkpointing.keep": self.checkpointing.keep,
        }
        for key, value in positive.items():
            if value < 1:
                raise ValueError(f"{key}: expected 1 or more, got {value}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed: expected a whole number from 0 to {LARGEST_SEED}, got {self.seed}")
        if self.lora is not None and "" in self.trainable:
            raise ValueError(
                "trainable: with lora, name the parts that are trained whole beside the adapters, or none: []"
            )
        if self.lora is not None and self.lora.rank < 1:
            raise ValueError(f"lora.rank: expected 1 or more, got {self.lora.rank}")
        not_negative = {
            "optim.lr": self.optim.lr,
            "optim.muon_lr": self.optim.muon_lr,
            "optim.weight_decay": self.optim.weight_decay,
            "optim.clip": self.optim.clip,
            "optim.skip_nonfinite": self.optim.skip_nonfinite,
            "schedule.warmup": self.schedule.warmup,
            "data.held_out": self.data.held_out,
            "data.workers": self.data.workers,
            "mentor.evaluation_samples": self.mentor.evaluation_samples,
            "logging.every": self.logging.every,
            "logging.evaluate_every": self.logging.evaluate_every,
            "logging.grid_every": self.logging.grid_every,
            "checkpointing.every": self.checkpointing.every,
            "engine.processes": self.engine.processes,
            **{f"optim.lr_scales.{part}": scale for part, scale in self.optim.lr_scales.items()},
            **{f"tokenizer.{name}": getattr(self.tokenizer, name) for name in _TERMS},
        }
        for key, number in not_negative.items():
            if not 0 <= number < math.inf:  # also refuses what is no number
                raise ValueError(f"{key}: expected 0 or more, got {number}")
        shares = {
            "ema": self.ema,
            "schedule.floor": self.schedule.floor,
            "schedule.decay_from": self.schedule.decay_from,
            "data.reject_limit": self.data.reject_limit,
            "mentor.condition_dropout": self.mentor.condition_dropout,
            "optim.muon_momentum": self.optim.muon_momentum,
            "tokenizer.perceptual_from": self.tokenizer.perceptual_from,
            "tokenizer.restarts_until": self.tokenizer.restarts_until,
            "tokenizer.adversarial_from": self.tokenizer.adversarial_from,
            "lora.dropout": 0.0 if self.lora is None else self.lora.dropout,
        }
        for key, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{key}: expected a share between 0 and 1, got {share}")
        if self.schedule.released and self.schedule.decay_from:
            raise ValueError(
                f"schedule.decay_from: {self.schedule.kind} always decays from the end of the warm-up on; expected 0, "
                f"got {self.schedule.decay_from}"
            )
        if not all(0 <= weight < math.inf for weight in self.data.weights.values()):
            raise ValueError(f"data.weights: expected shares of 0 or more, got {self.data.weights}")
