"""A tiny regression to train: two layers, a frozen part, dropout, a running buffer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mentor.config.load import from_dict, merge
from mentor.config.run import TrainConfig
from mentor.training.protocol import WHOLE, Batch, Objective, Share
from mentor.training.trainer import Trainer


class TinyModule(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = nn.Linear(8, 16)
        self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 16))
        self.output = nn.Linear(16, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += len(x)
        x = self.body(self.encoder(x.to(self.encoder.weight.dtype)))
        return self.output(x).sum(-1)  # FSDP warns of a view


class TinyObjective(Objective):
    def __init__(self, dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        self.module = TinyModule(dropout)

    def weight(self, batch: Batch) -> float:
        return float(len(batch["x"]))

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        error = self.module(batch["x"]).float() - batch["y"]
        return error.square().mean(), {"absolute": error.detach().abs().mean()}

    def evaluate(self) -> dict[str, float]:
        batch = TinyFeed(64, seed=99).batch(0)
        return {"error": float(self.loss(batch, 0)[0]), "training": float(self.module.training)}

    def export(self, folder: Path) -> None:
        save_file(self.module.state_dict(), folder / "model.safetensors")


class TinyFeed:
    def __init__(self, batch_size: int, seed: int = 0) -> None:
        self.batch_size, self.seed = batch_size, seed

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        x = torch.randn(self.batch_size, 8, generator=generator)[share.part]
        return {"x": x, "y": x[:, 0] * x[:, 1] + x[:, 2]}


def tiny_config(**changes: Any) -> TrainConfig:
    """A recipe for the tiny regression; ``changes`` are laid over it."""
    values: dict[str, Any] = {
        "name": "tiny",
        "objective": "mentor",
        "data": {"batch_size": 8},
        "optim": {"lr": 1e-2},
        "schedule": {"steps": 12, "warmup": 2, "floor": 0.1},
        "logging": {"every": 1, "evaluate_every": 4, "grid_every": 0, "trackers": []},
        "checkpointing": {"every": 4, "keep": 2},
        "engine": {"emulate_bf16": True},  # what is tested must not depend on the processor
    }
    return from_dict(TrainConfig, merge(values, changes))


def tiny_trainer(config: TrainConfig, dropout: float = 0.0) -> Trainer:
    """A fresh trainer of the tiny regression on the CPU."""
    return Trainer(config, TinyObjective(dropout), TinyFeed(config.data.batch_size), device="cpu")
