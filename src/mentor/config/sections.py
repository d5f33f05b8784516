"""The sections of a recipe: one frozen dataclass for each. Imports no torch; ``config.run`` joins them to a whole recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mentor.config.load import from_dict, merge, to_dict
from mentor.config.model import MentorConfig
from mentor.config.presets import PRESETS


@dataclass(frozen=True)
class ModelChoice:
    """Which model is trained: a preset and the values that differ from it."""

    preset: str = "mini-64"
    overrides: dict[str, Any] = field(default_factory=dict)
    """Nested values laid over the preset, for example ``{decoder: {width: 64}}``."""

    def resolve(self) -> MentorConfig:
        """The model's full configuration. Raises ValueError for an unknown preset or key."""
        if self.preset not in PRESETS:
            raise ValueError(f"model.preset: unknown preset '{self.preset}'; known: {', '.join(PRESETS)}")
        return from_dict(MentorConfig, merge(to_dict(PRESETS[self.preset]), self.overrides), where="model.overrides")


@dataclass(frozen=True)
class InitConfig:
    """Where the weights start. What is not given starts from the pretrained encoders and fresh random weights."""

    bundle: str | None = None
    """A saved bundle (folder or hub name) whose weights are the starting point: the previous stage."""
    image_tokenizer: str | None = None
    """Folder of a trained image tokenizer (``final`` of a tokenizer run); not needed when ``bundle`` is given."""
    parts: dict[str, str] = field(default_factory=dict)
    """Module name -> another bundle that gives its weights, for example ``decoder: runs/xl/rope/final``."""
    fresh: tuple[str, ...] = ()
    """Modules whose weights in ``bundle`` are not taken: the connector, the projector, the null condition."""
    query_former: str | None = None
    """Hub folder of InstructBLIP, or BLIP-2 with a query tokenizer, whose Query-Former takes the connector's place."""
    answerer: str | None = None
    """Hub folder of the whole T5 whose decoder answers in the ``caption`` objective."""


@dataclass(frozen=True)
class OptimConfig:
    """How gradients become weights."""

    kind: Literal["adamw", "muon"] = "adamw"
    """``muon``: Muon for the two-dimensional hidden matrices, AdamW for embeddings, heads, norms and biases."""
    lr: float = 1e-3
    muon_lr: float = 0.014
    """Peak learning rate of the matrices under Muon, before the factor sqrt(max(1, rows / columns))."""
    muon_momentum: float = 0.95
    lr_scales: dict[str, float] = field(default_factory=dict)
    """Prefix of module names -> factor on its learning rate, for example a small one for pretrained parts."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip: float = 1.0
    """Largest norm of the whole gradient; 0 turns clipping off."""
    accumulate: int = 1
    """Batches whose gradients make one step."""
    accumulation: Literal["mean", "sum"] = "mean"
    """``mean``: k batches give the gradient of one k times as large. ``sum``: k times that, as the released code."""
    skip_nonfinite: int = 0
    """Steps in a row that may be left out because their loss or gradient is no finite number; one more ends the run."""


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate as a share of its peak, over ``steps`` optimiser steps."""

    steps: int = 1000
    samples: int | None = None
    """The same length in samples: ``load_recipe`` makes it ``steps`` of the effective batch (batch_size x accumulate)."""
    kind: Literal["cosine", "linear", "constant", "released_cosine", "released_linear"] = "cosine"
    """``released_*``: as the released code computes it, which counts the run in batches (steps x ``optim.accumulate``) but
    moves on once a step: with 4 batches a step the warm-up is 4 times as long and a quarter of the decay is seen."""
    warmup: float = 0.05
    """Share of the steps with a linear rise (at least 1 step), or the number of steps when 1 or more. ``released_*``: share
    of the batches, counted in steps."""
    decay_from: float = 0.0
    """Share of the steps at which the decay begins (after the warm-up); before it the rate stays at its peak."""
    floor: float = 0.1
    """The last step's learning rate as a share of the peak. ``released_cosine``: approached, hardly ever reached;
    ``released_linear``: has none."""

    @property
    def released(self) -> bool:
        """Whether the rate is that of the released code."""
        return self.kind in ("released_cosine", "released_linear")


@dataclass(frozen=True)
class LoggingConfig:
    """How often things are told, in optimiser steps; 0 means never. None of it changes the result."""

    every: int = 10
    """Training numbers are means over so many steps."""
    evaluate_every: int = 200
    grid_every: int = 1000
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ("tensorboard",)
    """Who else gets the numbers of ``metrics.jsonl`` and the sample grids; wandb and trackio must be installed."""


@dataclass(frozen=True)
class CheckpointConfig:
    """How often the state of the run is saved. None of it changes the result."""

    every: int = 500
    keep: int = 2
    """The last so many are kept."""
    best: str | None = None
    """A held-out metric: the checkpoint with its best value is kept too, and every checkpoint is evaluated."""
    best_is: Literal["lowest", "highest"] = "lowest"


@dataclass(frozen=True)
class EngineConfig:
    """How the work is spread and what it may cost. None of it changes the result by more than rounding."""

    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes, ``ddp``: each has the whole model, gradients are added up; ``fsdp``: each has a part of every
    trained weight, its gradient and the optimiser's state; ``auto``: fsdp where accelerate's configuration asks for it or
    the whole does not fit on a GPU, else ddp. One process has the whole model."""
    processes: int = 0
    """Processes to start when no launcher did; 0: one for each GPU, or one."""
    activation_checkpointing: bool = False
    """Compute the insides of blocks again in the backward pass instead of keeping them."""
    emulate_bf16: bool = False
    """Compute in bfloat16 as ``precision`` says even on a processor without such arithmetic; else float32 takes its place."""


@dataclass(frozen=True)
class LoraConfig:
    """Small trained matrices beside frozen linear layers, for cheap fine-tunes; the exported model has them merged."""

    rank: int = 16
    alpha: float = 32.0
    """What the matrices add is multiplied by alpha / rank."""
    dora: bool = False
    """Train the length of each row of the weights apart from its direction (DoRA)."""
    dropout: float = 0.0
    targets: tuple[str, ...] = ("decoder.layers",)
    """Prefixes of module names: every linear layer under them gets an adapter."""


@dataclass(frozen=True)
class MentorObjectiveConfig:
    """The token cross-entropy objective (paper 2.3)."""

    condition_dropout: float = 0.1
    """Probability that a sample's condition is replaced by the null condition (classifier-free guidance)."""
    evaluation_samples: int = 128
    """Held-out samples scored at each evaluation."""


@dataclass(frozen=True)
class TokenizerObjectiveConfig:
    """The image tokenizer's objective: reconstruction, perceptual and commitment terms."""

    size: int = 64
    """Side of the training pictures in pixels."""
    held_out: int = 128
    """Held-out scenes scored at each evaluation."""
    l1: float = 0.1
    l2: float = 1.0
    perceptual: float = 0.0
    perceptual_from: float = 0.7
    """Share of the steps after which the perceptual term is on."""
    commitment: float = 0.05
    restarts_until: float = 0.7
    """Share of the steps until which unused codes are restarted."""
    adversarial: float = 0.0
    """Weight of the patch discriminator's term; 0: there is no discriminator."""
    adversarial_from: float = 0.5
    """Share of the steps after which the discriminator plays."""
