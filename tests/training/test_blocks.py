"""Which blocks a model has, and that compiling them or forgetting what they computed changes no number."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo
from torch import nn

from mentor.training.blocks import checkpoint_activations, compile_blocks, recomputed_blocks, trained_blocks
from mentor.training.feed import collate
from mentor.training.weights import freeze
from tests.generation.tiny_bundle import tiny_bundle
from tests.training import runs
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


def test_frozen_layers_that_gradients_pass_are_computed_again_too() -> None:
    """Stage 0 trains the connector alone: its gradients pass the language encoder, which holds all that is kept."""
    mentor = tiny_bundle().mentor
    freeze(mentor, ["encoder.connector"])
    assert trained_blocks(mentor) == []
    names = {id(module): name for name, module in mentor.named_modules()}
    found = [names[id(block)] for block in recomputed_blocks(mentor)]
    assert {name.split(".")[0] for name in found} == {"encoder", "decoder"} and len(found) == 3
    assert not [name for name in found if ".vision." in name]


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


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler looks at it
@pytest.mark.parametrize("packed", [False, True])
def test_compiled_blocks_give_the_same_gradients_and_are_compiled_once(
    packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.compile_without_a_compiler(monkeypatch.setattr)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    batches = [collate(rows(12)[start:end], processor(), 8) for start, end in ((0, 3), (2, 6), (4, 9), (6, 12))]
    gradients, graphs = [], []
    for compiled in (False, True):
        mentor = tiny_bundle().mentor.train()
        freeze(mentor, ["encoder.connector", "projector", "decoder"])
        if compiled:
            compile_blocks(trained_blocks(mentor))
        for batch in batches:
            lengths = batch["lengths"] if packed else None
            ids, mask = batch["input_ids"], batch["attention_mask"]
            mentor(ids, mask, batch["features"], batch["tokens"], lengths=lengths).square().mean().backward()
            graphs.append(runs.compiled_graphs())
        gradients.append({name: p.grad for name, p in mentor.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
    assert graphs[3] == 0 < graphs[4]
    assert graphs[5] == graphs[7]  # other lengths and other batches are no reason to compile again


def test_only_training_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(forward: object, **options: object) -> None:
        return None

    monkeypatch.setattr(torch, "compile", broken)
    mentor = tiny_bundle().mentor
    batch = collate(rows(2), processor(), 8)
    compile_blocks(trained_blocks(mentor))
    inputs = (batch["input_ids"], batch["attention_mask"], batch["features"], batch["tokens"])
    with torch.no_grad():
        mentor(*inputs)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        mentor(*inputs)


def test_a_module_without_layers_cannot_be_compiled() -> None:
    with pytest.raises(ValueError, match="set compile=false"):
        compile_blocks(trained_blocks(nn.Linear(2, 2)))


def test_generation_is_untouched() -> None:
    mentor = tiny_bundle().mentor
    batch = collate(rows(2), processor(), 8)
    with torch.no_grad():
        before = mentor(batch["input_ids"], batch["attention_mask"], batch["features"], batch["tokens"])
        checkpoint_activations(trained_blocks(mentor))
        after = mentor(batch["input_ids"], batch["attention_mask"], batch["features"], batch["tokens"])
    assert torch.equal(before, after)
