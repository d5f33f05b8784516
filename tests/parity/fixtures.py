"""Golden numbers: inputs, weights and outputs of the reference implementations, stored as small fixtures.

A fixture is ``NAME.json`` and the safetensors files that it names. Its kind is the beginning of its name (``vq`` for
``vq16_like``); sizes, cases and scales are read from the files alone. ``MENTOR_GOLDEN_DIR`` points the tests at another set.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

OWN_GOLDEN_DIR = Path(__file__).parent / "golden"
GOLDEN_DIR = Path(os.environ.get("MENTOR_GOLDEN_DIR") or OWN_GOLDEN_DIR)


@dataclass(frozen=True, eq=False)
class Golden:
    """One fixture: ``meta`` (its json), ``weights`` (reference parameter names) and ``io`` (inputs and outputs)."""

    name: str
    meta: dict[str, Any] = field(repr=False)
    weights: dict[str, Tensor] = field(repr=False)
    io: dict[str, Tensor] = field(repr=False)

    def tolerance(self, default: dict[str, float] | None = None) -> dict[str, float]:
        """The stated tolerance; ``default`` is for fixtures that state none."""
        stated = self.meta.get("tol", default)
        assert stated is not None, f"{self.name}.json states no tolerance"
        return {"atol": 0.0, "rtol": 0.0, **stated}

    def numbered(self, pattern: str) -> list[tuple[str, ...]]:
        """The groups of ``pattern`` in the names of all entries that it fits."""
        return [found.groups() for name in self.io if (found := re.fullmatch(pattern, name))]


def fixture_names(kind: str = "", folder: Path = GOLDEN_DIR) -> list[str]:
    """Names of the fixtures in ``folder`` that begin with ``kind``. UsageError when the folder holds no fixture at all."""
    names = sorted(path.stem for path in folder.glob("*.json"))
    if not names:
        raise pytest.UsageError(f"MENTOR_GOLDEN_DIR={folder}: expected a folder of fixtures (*.json), found none")
    return [name for name in names if name.startswith(kind)]


@cache
def load_golden(name: str, folder: Path = GOLDEN_DIR) -> Golden:
    meta = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    weights: dict[str, Tensor] = {}
    for file in meta.get("weights", []):
        weights.update(load_file(folder / file))
    if "io" in meta:
        return Golden(name, meta, weights, load_file(folder / meta["io"]))
    # The learning rates stand in the json itself.
    rates = {f"{number}.lr": torch.tensor(case["lr"], dtype=torch.float64) for number, case in enumerate(meta["cases"])}
    return Golden(name, meta, weights, rates)


class Checks:
    """What our code makes of the entries of one kind of fixture.

    ``given`` are patterns of entries that are inputs of the others. Every other entry is a test of its own
    (``conftest.py``), in which the first registered function whose pattern fits has to give its numbers; an entry that
    nothing fits is a failure. ``tolerance`` is for fixtures that state none.
    """

    def __init__(self, kind: str, *, given: tuple[str, ...] = (), tolerance: dict[str, float] | None = None) -> None:
        self.kind, self.given, self._tolerance = kind, given, tolerance
        self._functions: dict[str, Callable[..., Tensor]] = {}

    def entry(self, pattern: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
        """Registers a function of (golden, *groups of the pattern) -> the entry's numbers."""

        def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
            self._functions[pattern] = function
            return function

        return register

    def to_check(self, golden: Golden) -> list[str]:
        """Names of the fixture's entries that are no inputs."""
        return [name for name in golden.io if not any(re.fullmatch(pattern, name) for pattern in self.given)]

    def verify(self, golden: Golden, entry: str, record: Callable[[str, object], None]) -> None:
        """Fails unless our numbers for ``entry`` are the fixture's; integers and booleans exactly."""
        expected, ours = golden.io[entry], self._ours(golden, entry)
        exact = not expected.is_floating_point()
        tolerance = {"atol": 0.0, "rtol": 0.0} if exact else golden.tolerance(self._tolerance)
        ours = ours.to(expected.dtype) if exact else ours
        if ours.shape == expected.shape:
            record("largest difference", float((ours.double() - expected.double()).abs().max()))
        record("tolerance", "exact" if exact else f"{tolerance['atol']:g} + {tolerance['rtol']:g} x")
        torch.testing.assert_close(ours, expected, **tolerance)

    def _ours(self, golden: Golden, entry: str) -> Tensor:
        for pattern, function in self._functions.items():
            if found := re.fullmatch(pattern, entry):
                return function(golden, *found.groups()).detach()
        pytest.fail(f"nothing checks {entry} of {golden.name}.json")
