"""Gradients of accumulated batches: their mean, or as the released code their sum."""

from __future__ import annotations

import pytest
import torch

from tests.training.tiny import tiny_config, tiny_trainer


@pytest.mark.parametrize(("accumulation", "factor"), [("mean", 1.0), ("sum", 3.0)])
def test_a_sum_is_as_many_times_the_mean(accumulation: str, factor: float) -> None:
    gradients = {}
    for kind in ("mean", accumulation):
        trainer = tiny_trainer(tiny_config(optim={"accumulate": 3, "accumulation": kind}))
        metrics = trainer.stepper._accumulate([trainer.feed.batch(index) for index in range(3)], 0)
        gradients[kind] = [parameter.grad.clone() for parameter in trainer.objective.module.parameters()]
        assert float(metrics["loss"]) < 3
    for one, other in zip(gradients["mean"], gradients[accumulation], strict=True):
        torch.testing.assert_close(other, one * factor)
