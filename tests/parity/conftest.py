"""Golden numbers: inputs, weights and outputs of the reference implementations, stored as small fixtures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

GOLDEN_DIR = Path(os.environ.get("MENTOR_GOLDEN_DIR", Path(__file__).parent / "golden"))


@dataclass(frozen=True)
class Golden:
    """One fixture: ``meta`` (its json), ``weights`` (reference parameter names) and ``io`` (inputs and outputs)."""

    meta: dict[str, Any]
    weights: dict[str, Tensor]
    io: dict[str, Tensor]

    @property
    def tolerance(self) -> dict[str, float]:
        return {"rtol": 0.0, **self.meta["tol"]}


def load_golden(name: str) -> Golden:
    meta = json.loads((GOLDEN_DIR / f"{name}.json").read_text(encoding="utf-8"))
    weights: dict[str, Tensor] = {}
    for file in meta.get("weights", []):
        weights.update(load_file(GOLDEN_DIR / file))
    io = load_file(GOLDEN_DIR / meta["io"]) if "io" in meta else {}
    return Golden(meta, weights, io)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Loads a fixture by name, once a session."""
    loaded: dict[str, Golden] = {}

    def load(name: str) -> Golden:
        if name not in loaded:
            loaded[name] = load_golden(name)
        return loaded[name]

    return load
