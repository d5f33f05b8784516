"""Weights that do not fit are refused before anything is changed, and the message says what and what is near."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mentor.checkpoint.strict import load_strict


def test_loading_casts_and_keeps_the_modules_own_memory():
    module = nn.Linear(3, 2).bfloat16()
    weight, place = module.weight, module.weight.data_ptr()
    load_strict(module, {"weight": torch.full((2, 3), 0.3), "bias": torch.ones(2)}, "model")
    assert module.weight is weight
    assert weight.data_ptr() == place
    assert torch.equal(weight, torch.full((2, 3), 0.3).bfloat16())
    assert weight.requires_grad


def test_loading_names_what_does_not_fit():
    module = nn.Linear(3, 2)
    good = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    load_strict(module, good, "model")
    for state, message in [
        ({"weight": good["weight"]}, "model does not fit .*bias is missing"),
        ({**good, "extra": torch.ones(1)}, "extra is not part of the configured model$"),
        ({**good, "weights": torch.ones(1)}, "weights is not part .*; the nearest known name to weights is weight"),
        ({**good, "weight": torch.zeros(2, 4)}, r"weight has shape \[2, 4\], the configuration asks for \[2, 3\]"),
        ({**good, **{f"x{i}": torch.ones(1) for i in range(9)}}, "and 6 more"),
        (
            {"encoder.block.0.layer.0.SelfAttention.q.weight": torch.ones(1)},
            "model holds a T5 language model; expected",
        ),
        ({}, "weight is missing; bias is missing"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_strict(module, {name: torch.zeros_like(tensor) for name, tensor in state.items()}, "model")
    assert torch.equal(module.weight, torch.ones(2, 3)), "a refused state changed the module"
