"""Which blocks a model has, and that forgetting what they computed changes nothing but the memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mentor.training.blocks import checkpoint_activations, trained_blocks
from mentor.training.feed import collate
from mentor.training.weights import freeze
from tests.generation.tiny_bundle import tiny_bundle
from tests.training.tiny_mentor import processor, rows


def test_blocks_are_the_outermost_layers_that_are_trained() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])  # as T5's layers have

    model = nn.ModuleDict({"tower": nn.ModuleList([Layer()]), "layers": nn.ModuleList([Layer(), Layer()])})
    freeze(model, ["layers"])
    assert trained_blocks(model) == list(model["layers"])


def test_the_blocks_of_mentor_are_those_of_the_decoder_and_the_language_encoder() -> None:
    mentor = tiny_bundle().mentor
    freeze(mentor, ["encoder.language", "decoder"])
    names = {id(module): name for name, module in mentor.named_modules()}
    found = [names[id(block)] for block in trained_blocks(mentor)]
    assert [name for name in found if name.startswith("decoder")] == ["decoder.layers.0", "decoder.layers.1"]
    assert [name for name in found if "language" in name and name.endswith("layer.0")]
    assert len(found) == 3


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_forgotten_activations_are_computed_again_to_the_bit(dropout: float) -> None:
    batch = collate(rows(6), processor(), 8)
    gradients, kept = [], []
    for forget in (False, True):
        mentor = tiny_bundle().mentor.train()
        for block in mentor.decoder.layers:
            block.residual_dropout = dropout
        freeze(mentor, ["encoder.language", "encoder.connector", "projector", "decoder"])
        if forget:
            checkpoint_activations(trained_blocks(mentor))
        sizes: list[int] = []

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = mentor(batch["input_ids"], batch["attention_mask"], batch["features"], batch["tokens"])
        logits.square().mean().backward()
        gradients.append({name: p.grad for name, p in mentor.named_parameters() if p.grad is not None})
        kept.append(sum(sizes))
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())
    assert kept[1] < 0.5 * kept[0]


def test_generation_is_untouched() -> None:
    mentor = tiny_bundle().mentor
    batch = collate(rows(2), processor(), 8)
    with torch.no_grad():
        before = mentor(batch["input_ids"], batch["attention_mask"], batch["features"], batch["tokens"])
        checkpoint_activations(trained_blocks(mentor))
        after = mentor(batch["input_ids"], batch["attention_mask"], batch["features"], batch["tokens"])
    assert torch.equal(before, after)
