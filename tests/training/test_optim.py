"""Grouping of parameters, and Muon against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mentor.config.sections import OptimConfig
from mentor.training.optim import Group, Muon, Optimizer, default_groups, orthogonalise, scaled
from tests.training.tiny import TinyModule


def test_groups_by_use() -> None:
    module = nn.ModuleDict(
        {"table": nn.Embedding(4, 8), "map": nn.Linear(8, 8), "output": nn.Linear(8, 4), "conv": nn.Conv2d(1, 2, 3)}
    )
    module.register_parameter("null", nn.Parameter(torch.zeros(3, 8)))
    groups = {
        g.kind: set(g.names) for g in default_groups(module, dict(module.named_parameters()), not_hidden=("output",))
    }
    assert groups["matrix"] == {"map.weight"}
    assert groups["decay"] == {"table.weight", "output.weight", "conv.weight", "null"}
    assert groups["plain"] == {"map.bias", "output.bias", "conv.bias"}


def test_vectors_have_no_weight_decay() -> None:
    module = TinyModule()
    parameters = dict(module.named_parameters())
    groups = default_groups(module, parameters)
    optimizer = Optimizer(OptimConfig(weight_decay=0.1), groups, dict(parameters))
    before = {name: p.detach().clone() for name, p in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(1.0)
    for name, parameter in parameters.items():
        shrunk = before[name] * (1 - 1e-3 * 0.1)
        assert torch.allclose(parameter, before[name] if name.endswith("bias") else shrunk, atol=1e-9)


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (32, 32)])
def test_muon_equals_torch(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for _ in range(3)]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    start = [p.detach().clone() for p in ours]
    mine = Muon([{"params": ours}], lr=0.02, weight_decay=0.1, momentum=0.9)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="original")
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(shape)
            b.grad = a.grad.clone()
        mine.step()
        reference.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        # Theirs iterates in bfloat16 always, ours where the processor has it.
        assert torch.allclose(a, b, atol=2e-3)
        assert (a - b).norm() < 0.05 * (b - before).norm()


def test_kernels_of_convolutions_are_matrices_of_their_outputs_where_asked() -> None:
    module = nn.ModuleDict({"first": nn.Conv2d(3, 8, 3), "hidden": nn.Conv2d(8, 8, 3)})
    parameters = dict(module.named_parameters())
    groups = default_groups(module, parameters, not_hidden=("first.",), convolutions=True)
    assert [g.names for g in groups if g.kind == "matrix"] == [("hidden.weight",)]


def test_muon_of_a_convolution_is_muon_of_its_matrix() -> None:
    torch.manual_seed(0)
    kernels = [nn.Parameter(torch.randn(8, 6, 3, 3).contiguous(memory_format=torch.channels_last)) for _ in range(2)]
    matrices = [nn.Parameter(kernel.detach().flatten(1).clone()) for kernel in kernels]
    optimizers = [Muon([{"params": part}], lr=0.02, weight_decay=0.1) for part in (kernels, matrices)]
    for _ in range(3):
        for kernel, matrix in zip(kernels, matrices, strict=True):
            kernel.grad = torch.randn(8, 6, 3, 3)
            matrix.grad = kernel.grad.flatten(1)
        for optimizer in optimizers:
            optimizer.step()
    assert kernels[0].is_contiguous(memory_format=torch.channels_last)
    for kernel, matrix in zip(kernels, matrices, strict=True):
        assert torch.allclose(kernel.flatten(1), matrix, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 24, 60), (2, 60, 24), (1, 32, 32)])
def test_the_iteration_on_gram_matrices_is_the_iteration(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr("mentor.training.optim.computes_bf16", lambda device: False)
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = matrices.double()
    x = x.mT if shape[1] > shape[2] else x
    x = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    x = x.mT if shape[1] > shape[2] else x
    assert torch.allclose(orthogonalise(matrices).double(), x, atol=1e-4)


def test_nothing_has_no_direction() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 4, 6)).float(), torch.zeros(1, 4, 6))


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(5, 24, 60)).float())
    assert 0.6 < values.min() < values.max() < 1.3


def test_learning_rate_scales_split_groups() -> None:
    groups = [Group("matrix", ("a.x.weight", "a.y.weight", "b.weight")), Group("plain", ("a.x.bias",), 0.5)]
    result = {(g.kind, g.lr_scale): g.names for g in scaled(groups, {"a": 0.1, "a.y": 0.2})}
    assert result == {
        ("matrix", 0.1): ("a.x.weight",),
        ("matrix", 0.2): ("a.y.weight",),
        ("matrix", 1.0): ("b.weight",),
        ("plain", 0.05): ("a.x.bias",),
    }
    with pytest.raises(ValueError, match=r"optim\.lr_scales: no trained parameter lies under 'c'"):
        scaled(groups, {"c": 1.0})


def test_a_foreign_optimiser_state_is_refused() -> None:
    module = TinyModule()
    parameters = dict(module.named_parameters())
    groups = default_groups(module, parameters)
    optimizer = Optimizer(OptimConfig(), groups, dict(parameters))
    weight = module.output.weight
    with pytest.raises(ValueError, match=r"remembers Muon\.output\.weight\.momentum, which the recipe's \(AdamW\)"):
        optimizer.blank("Muon.output.weight.momentum", weight.shape, weight.dtype)
    with pytest.raises(ValueError, match="remembers AdamW.nothing.exp_avg"):
        optimizer.blank("AdamW.nothing.exp_avg", weight.shape, weight.dtype)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_memory_can_be_taken_out_and_put_back(kind: str) -> None:
    def start() -> tuple[TinyModule, Optimizer]:
        torch.manual_seed(0)
        module = TinyModule()
        parameters = dict(module.named_parameters())
        return module, Optimizer(OptimConfig(kind=kind), default_groups(module, parameters), dict(parameters))

    def steps(module: TinyModule, optimizer: Optimizer, seeds: range) -> None:
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for parameter in module.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step(1.0)

    whole, whole_optimizer = start()
    steps(whole, whole_optimizer, range(6))
    half, half_optimizer = start()
    steps(half, half_optimizer, range(3))
    other, other_optimizer = start()
    other.load_state_dict(half.state_dict())
    memory = {}
    for name, tensor in half_optimizer.state_dict().items():
        memory[name] = other_optimizer.blank(name, tensor.shape, tensor.dtype).copy_(tensor)
    other_optimizer.load_state_dict(memory)
    steps(other, other_optimizer, range(3, 6))
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, dict(other.named_parameters())[name]), name
