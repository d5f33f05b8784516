"""Freezing, float32 masters and averaging."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mentor.training.sharding import filled, hollow
from mentor.training.weights import Weights, count_parts, freeze
from tests.generation.tiny_bundle import tiny_bundle
from tests.training.tiny import TinyModule


def test_freezing_is_by_prefix_of_whole_names() -> None:
    module = TinyModule()
    assert set(freeze(module, ["body.0", "output"])) == {"body.0.weight", "body.0.bias", "output.weight", "output.bias"}
    assert count_parts(module) == {"encoder": (0, 144), "body": (544, 528), "output": (17, 0)}
    assert len(freeze(module, [""])) == 8


@pytest.mark.parametrize("prefixes", [[""], ["encoder", "decoder"]])
def test_the_vision_tower_is_never_among_what_is_trained(prefixes: list[str]) -> None:
    """It runs without gradients: optimiser and counts must not pretend otherwise."""
    mentor = tiny_bundle().mentor
    trained = freeze(mentor, prefixes)
    assert not [name for name in trained if name.startswith("encoder.vision.")]
    assert {"encoder.connector", "encoder.language"} <= {".".join(name.split(".")[:2]) for name in trained}
    tower = sum(parameter.numel() for parameter in mentor.encoder.vision.parameters())
    assert tower > 0 and count_parts(mentor)["encoder"][1] == tower


@pytest.mark.parametrize("prefix", ["encoder.vision", "encoder.vision.trunk"])
def test_a_tower_that_is_named_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match=f"trainable: nothing under '{prefix}' can learn, encoder.vision is frozen"):
        freeze(tiny_bundle().mentor, ["decoder", prefix])


class Table(torch.nn.Linear):
    """Has a table that is no buffer, as a decoder its rotation: it follows when the module is sent somewhere."""

    moves = 0

    def _apply(self, *args: Any, **kwargs: Any) -> Table:
        self.moves += 1
        return super()._apply(*args, **kwargs)


def test_a_hollow_copy_takes_no_memory_and_its_tables_follow_the_weights() -> None:
    """Made before the module moved, the copy's tables are still where it was made."""
    module = Table(3, 2)
    module.register_buffer("positions", torch.arange(4), persistent=False)
    empty, there = hollow(module), torch.device("meta")
    assert {weight.device for weight in empty.parameters()} == {there}
    same = filled(empty, dict(module.named_parameters()), {}, torch.device("cpu"))
    assert torch.equal(same.weight, module.weight) and same.moves == 1  # type: ignore[arg-type]
    moved = filled(empty, {name: weight.to(there) for name, weight in module.named_parameters()}, {}, there)
    assert {each.device for each in (*moved.parameters(), *moved.buffers())} == {there}


@pytest.mark.parametrize("name", ["decoder", "out", "body.1"])
def test_a_part_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match=f"no parameter lies under '{name}'.*encoder"):
        freeze(TinyModule(), ["output", name])


def test_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="nothing is trained"):
        freeze(TinyModule(), [])


def test_half_precision_keeps_small_updates_in_the_masters_and_exports_float32() -> None:
    module = TinyModule()
    frozen = module.encoder.weight.detach().clone()
    weights = Weights(module, freeze(module, ["output"]), half=True, ema=0.0)
    assert module.output.weight.dtype == module.encoder.weight.dtype == torch.bfloat16
    assert module.seen.dtype == torch.float32
    start = weights.masters["output.weight"].clone()
    for step in range(10):
        weights.masters["output.weight"] += 1e-4 * start  # each is lost in bfloat16
        weights.after_step(step)
    assert torch.equal(module.output.weight, weights.masters["output.weight"].bfloat16())
    weights.finish()
    assert module.output.weight.dtype == torch.float32
    assert torch.allclose(module.output.weight, start * 1.001, rtol=1e-5)
    assert torch.equal(module.encoder.weight, frozen)  # not rounded to bfloat16 and back


def test_average_is_the_exponential_mean_and_is_seen_only_inside_the_block() -> None:
    module = TinyModule()
    weights = Weights(module, freeze(module, ["output"]), half=False, ema=0.9)
    expected = module.output.weight.detach().clone()
    for step in range(200):
        with torch.no_grad():
            module.output.weight += 0.01
        weights.after_step(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.output.weight.detach()
    current = module.output.weight.detach().clone()
    module.train()
    with weights.averaged():
        assert torch.allclose(module.output.weight, expected, atol=1e-5)
        assert not module.training
    assert module.training
    assert torch.equal(module.output.weight, current)
    weights.finish()
    assert torch.allclose(module.output.weight, expected, atol=1e-5)


def test_what_is_trained_is_float32_whatever_was_loaded() -> None:
    module = TinyModule().bfloat16()
    weights = Weights(module, freeze(module, ["output"]), half=True, ema=0.0)
    assert weights.masters["output.weight"].dtype == torch.float32
    assert weights.full["encoder.weight"].dtype == module.output.weight.dtype == torch.bfloat16
    module = TinyModule().bfloat16()
    Weights(module, freeze(module, ["output"]), half=False, ema=0.0)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_gradients_of_several_batches_add_up_in_float32() -> None:
    module = TinyModule()
    weights = Weights(module, freeze(module, ["output"]), half=True, ema=0.0)
    for _ in range(300):  # in bfloat16 the sum would stand still at 256
        module.output.bias.grad = torch.ones_like(module.output.bias)
        weights.collect_gradients()
    assert float(weights.masters["output.bias"].grad) == 300
