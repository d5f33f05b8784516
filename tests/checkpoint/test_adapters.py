"""Adapters in files of their own: merged they are what was trained, scaled they are part of it, and others' are refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from mentor.checkpoint.adapters import ADAPTER_CONFIG, Adapter, merge_adapter, merged
from mentor.config.sections import LoraConfig
from mentor.training.lora import add_adapters, is_adapter
from tests.generation.tiny_bundle import tiny_bundle


def trained(seed: int = 0, *, dora: bool = False) -> nn.Module:
    """A tiny model with adapters that change it."""
    mentor = tiny_bundle().mentor
    add_adapters(mentor, LoraConfig(rank=2, alpha=8.0, dora=dora, targets=("decoder.layers", "projector")), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in mentor.named_parameters():
            if is_adapter(name):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return mentor


@pytest.mark.parametrize("dora", [False, True])
def test_a_saved_adapter_makes_of_the_model_what_was_trained(tmp_path: Path, dora: bool) -> None:
    mentor = trained(dora=dora)
    Adapter.of(mentor).save(tmp_path / "adapter")
    wanted = merged(copy.deepcopy(mentor)).state_dict()
    plain = tiny_bundle().mentor
    classes = {name: type(part) for name, part in plain.named_modules()}
    merge_adapter(plain, tmp_path / "adapter")
    assert {name: type(part) for name, part in plain.named_modules()} == classes  # nothing of peft is left in it
    assert plain.state_dict().keys() == wanted.keys()
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], atol=1e-6, rtol=1e-6)
    assert not torch.equal(plain.state_dict()["projector.fc1.weight"], tiny_bundle().mentor.projector.fc1.weight)


def test_scale_is_a_share_of_the_change_and_adapters_add_up(tmp_path: Path) -> None:
    for seed in (0, 1):
        Adapter.of(trained(seed)).save(tmp_path / str(seed))
    base, name = tiny_bundle().mentor.state_dict(), "decoder.layers.1.attention.wqkv.weight"
    changes = []
    for seed in (0, 1):
        whole = tiny_bundle().mentor
        merge_adapter(whole, tmp_path / str(seed))
        changes.append(whole.state_dict()[name] - base[name])
    both = tiny_bundle().mentor
    merge_adapter(both, tmp_path / "0", 0.5)
    torch.testing.assert_close(both.state_dict()[name], base[name] + 0.5 * changes[0], atol=1e-6, rtol=1e-6)
    merge_adapter(both, tmp_path / "1", -2.0)
    wanted = base[name] + 0.5 * changes[0] - 2 * changes[1]
    torch.testing.assert_close(both.state_dict()[name], wanted, atol=1e-6, rtol=1e-6)
    nothing = tiny_bundle().mentor
    merge_adapter(nothing, tmp_path / "0", 0.0)
    assert torch.equal(nothing.state_dict()[name], base[name])


def test_what_is_no_adapter_of_this_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    plain = tiny_bundle().mentor
    before = copy.deepcopy(plain.state_dict())
    with pytest.raises(ValueError, match=r"expected adapter_config\.json"):
        merge_adapter(plain, tmp_path)
    Adapter.of(trained()).save(tmp_path / "adapter")
    with pytest.raises(ValueError, match="finite number"):
        merge_adapter(plain, tmp_path / "adapter", float("nan"))
    other = nn.ModuleDict({"decoder": nn.Linear(3, 3)})
    with pytest.raises(ValueError, match="adapters of another model"):
        merge_adapter(other, tmp_path / "adapter")
    path = tmp_path / "adapter" / ADAPTER_CONFIG
    config = json.loads(path.read_text())
    path.write_text(json.dumps({"peft_type": "IA3"}))
    with pytest.raises(ValueError, match=r"LoRA or DoRA|no configuration"):
        merge_adapter(plain, tmp_path / "adapter")
    path.write_text("{")
    with pytest.raises(ValueError, match="no configuration of peft"):
        merge_adapter(plain, tmp_path / "adapter")
    path.write_text(json.dumps(config))
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="adapter_model"):
        merge_adapter(plain, tmp_path / "adapter")
    assert all(torch.equal(tensor, before[name]) for name, tensor in plain.state_dict().items())
