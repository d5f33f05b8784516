"""The released learning-rate schedule against numbers of the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from mentor.config.sections import ScheduleConfig
from mentor.training.schedule import multiplier
from tests.parity.fixtures import Checks, Golden

# Double precision on both sides: only the order of a few operations differs.
checks = Checks("lr_schedule", tolerance={"atol": 1e-18, "rtol": 1e-12})


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


@checks.entry(r"(\d+)\.lr")
def rates(golden: Golden, number: str) -> Tensor:
    case = golden.meta["cases"][int(number)]
    config = ScheduleConfig(
        steps=case["num_iters"],
        kind=f"released_{case['decay_style']}",
        warmup=case["warmup_iter"] / case["num_iters"],
        floor=case["decay_ratio"],
    )
    shares = [multiplier(step, config) for step in case["steps"]]
    return case["start_lr"] * torch.tensor(shares, dtype=torch.float64)
