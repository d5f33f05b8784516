"""The sampling filters against the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from mentor.generation.sampling import keep_top_k, keep_top_p, sample
from tests.parity.fixtures import Checks, Golden

checks = Checks("sampling", given=("in.logits",), tolerance={"atol": 1e-7, "rtol": 1e-5})


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


def test_every_case_is_there(golden):
    numbers = range(len(golden.meta["cases"]))
    assert set(checks.to_check(golden)) >= {
        f"out.{number}.{what}" for number in numbers for what in ("probs", "greedy")
    }


@checks.entry(r"out\.(\d+)\.probs")
def probabilities(golden: Golden, number: str) -> Tensor:
    case = golden.meta["cases"][int(number)]
    logits = golden.io["in.logits"][:, -1] / case["temperature"]
    return keep_top_p(keep_top_k(logits, case["top_k"]), case["top_p"]).softmax(-1)


@checks.entry(r"out\.(\d+)\.greedy")
def greedy(golden: Golden, number: str) -> Tensor:
    logits = golden.io["in.logits"][:, -1]
    return sample(logits, temperature=0.0, generators=[torch.Generator()] * len(logits))[:, None]
