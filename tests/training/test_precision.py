"""Number types: float32 takes bfloat16's place where a processor would only emulate it, and that is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import torch

from mentor.training.optim import orthogonalise
from mentor.training.precision import computes_bf16, usable
from mentor.training.trainer import Trainer
from tests.training.tiny import TinyFeed, TinyObjective, tiny_config


@pytest.fixture(params=[True, False])
def able(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """A processor with and without such arithmetic."""
    monkeypatch.setattr(
        torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": request.param}, raising=False
    )
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(sys, "platform", "linux")
    computes_bf16.cache_clear()
    yield request.param
    computes_bf16.cache_clear()


def test_what_is_used(able: bool) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for wanted in ("bf16", "bf16_pure"):
        assert usable(wanted, cpu) == (wanted if able else "fp32")
        assert usable(wanted, cpu, emulate=True) == usable(wanted, gpu) == wanted
    assert usable("fp32", cpu) == "fp32"


@pytest.mark.usefixtures("able")
def test_older_gpus_and_macs_compute_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Ampere no kernel for packed samples takes bfloat16; PyTorch's builds for macOS emulate it on the CPU."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert usable("bf16_pure", torch.device("cuda")) == usable("bf16", torch.device("cpu")) == "fp32"
    assert usable("bf16", torch.device("mps")) == "bf16"


def test_the_trainer_computes_in_it_and_tells(able: bool) -> None:
    config = tiny_config(precision="bf16_pure", engine={"emulate_bf16": False})
    trainer = Trainer(config, TinyObjective(), TinyFeed(8), device="cpu")
    assert {parameter.dtype for parameter in trainer.objective.module.parameters()} == {
        torch.bfloat16 if able else torch.float32
    }
    told = trainer.describe()[0]
    assert told.endswith(
        "bf16_pure, on cpu" if able else "fp32 (this processor has no bfloat16 arithmetic for bf16_pure), on cpu"
    )


def test_orthogonal_updates_in_either(able: bool) -> None:
    matrices = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(matrices)
    assert found.dtype == (torch.bfloat16 if able else torch.float32)
    values = torch.linalg.svdvals(found.float())
    assert float(values.min()) > 0.6 and float(values.max()) < 1.25
