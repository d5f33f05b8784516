"""Adapters: a start that changes nothing, what is trained, and a merged model that computes the same."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mentor.checkpoint.adapters import merge_adapter, merged
from mentor.checkpoint.store import load_bundle
from mentor.config.sections import LoraConfig, MentorObjectiveConfig
from mentor.data.shards import PrecomputedDataset
from mentor.training.feed import MentorFeed, collate
from mentor.training.lora import add_adapters, is_adapter
from mentor.training.objective import MentorObjective
from mentor.training.trainer import Trainer
from mentor.training.weights import freeze
from tests.generation.tiny_bundle import tiny_bundle
from tests.training.tiny import tiny_config, tiny_trainer
from tests.training.tiny_mentor import processor, rows, write


def _logits(mentor: torch.nn.Module) -> torch.Tensor:
    batch = collate(rows(6), processor(), 8)
    with torch.no_grad():
        return mentor(batch["input_ids"], batch["attention_mask"], batch["features"], batch["tokens"])


@pytest.mark.parametrize("dora", [False, True])
def test_adapters_begin_with_nothing_and_merge_into_the_weights(dora: bool) -> None:
    mentor = tiny_bundle().mentor
    names, before = set(mentor.state_dict()), _logits(mentor)
    add_adapters(mentor, LoraConfig(rank=2, alpha=8.0, dora=dora, targets=("decoder.layers.0", "projector")), seed=0)
    assert torch.allclose(_logits(mentor), before, atol=1e-5)
    trained = freeze(mentor, [], is_adapter)
    # 2 (rows + columns) of wqkv, wo, w1, w2, w3 and the projector, and with DoRA a length for each row
    layers = {name: module.weight for name, module in tiny_bundle().mentor.named_modules() if hasattr(module, "weight")}
    touched = [w for name, w in layers.items() if w.ndim == 2 and name.startswith(("decoder.layers.0.", "projector."))]
    assert sum(p.numel() for p in trained.values()) == sum(2 * sum(w.shape) + dora * len(w) for w in touched)
    with torch.no_grad():
        for parameter in trained.values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    mentor.eval()
    changed = _logits(mentor)
    assert not torch.allclose(changed, before, atol=1e-2)
    plain = merged(copy.deepcopy(mentor)).eval()
    assert set(plain.state_dict()) == names
    assert torch.allclose(_logits(plain), changed, atol=1e-4)
    assert torch.equal(_logits(mentor), changed)


def test_a_target_without_linear_layers_is_named() -> None:
    with pytest.raises(ValueError, match="lora.targets: no linear layer lies under 'decoder.norm'"):
        add_adapters(tiny_bundle().mentor, LoraConfig(targets=("decoder.norm",)), seed=0)


def test_the_vision_tower_gets_no_adapters() -> None:
    mentor = tiny_bundle().mentor
    mentor.encoder.vision.trunk.extra = torch.nn.Linear(4, 4)  # CLIP has linear layers, the tiny tower none
    with pytest.raises(ValueError, match="lora.targets: nothing under 'encoder.vision' can learn"):
        add_adapters(mentor, LoraConfig(targets=("encoder.vision",)), seed=0)
    add_adapters(mentor, LoraConfig(rank=2, targets=("encoder", "projector")), seed=0)
    adapted = [name for name, _ in mentor.named_parameters() if is_adapter(name)]
    assert adapted and not [name for name in adapted if name.startswith("encoder.vision.")]


def test_what_is_trained_whole_must_be_said() -> None:
    with pytest.raises(ValueError, match=r"trainable: with lora, name the parts"):
        tiny_config(lora={})


def test_only_adapters_learn_and_the_exported_model_has_them_merged(tmp_path: Path) -> None:
    write(tmp_path / "shards", rows(12), rows(6))
    train, held_out = (PrecomputedDataset(tmp_path / "shards", split) for split in ("train", "held_out"))
    objective = MentorObjective(tiny_bundle(), processor(), MentorObjectiveConfig(), held_out)
    feed = MentorFeed(train, processor(), batch_size=6, length_multiple=8, seed=0)
    config = tiny_config(trainable=[], lora={"rank": 4}, schedule={"steps": 8}, ema=0.5, checkpointing={"every": 4})
    trainer = Trainer(config, objective, feed, device="cpu")
    final = trainer.run(tmp_path / "run")
    start, end = tiny_bundle().mentor.state_dict(), load_bundle(final).mentor.state_dict()
    assert start.keys() == end.keys()
    for name, tensor in start.items():
        changed = not torch.equal(tensor.half(), end[name].half())
        assert changed == (name.startswith("decoder.layers.") and "norm" not in name), name
    # The adapters alone, laid over the model that the run began with, make the same.
    again = tiny_bundle().mentor
    merge_adapter(again, final / "adapter")
    for name, tensor in again.state_dict().items():
        torch.testing.assert_close(tensor.half(), end[name].half(), atol=1e-3, rtol=1e-3)


def test_no_adapters_alone_where_they_are_not_all_that_was_trained(tmp_path: Path) -> None:
    config = tiny_config(trainable=["output"], lora={"targets": ["body"], "rank": 2})
    final = tiny_trainer(config).run(tmp_path / "run")
    assert not (final / "adapter").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16_pure"])
def test_a_fine_tune_is_resumed_to_the_bit(tmp_path: Path, precision: str) -> None:
    config = tiny_config(trainable=["output"], lora={"targets": ["body"], "dora": True, "rank": 2}, precision=precision)
    whole = tiny_trainer(config).run(tmp_path / "whole")
    broken = tiny_trainer(config)
    broken.feed.batch_size = 8
    original = broken.feed.batch
    broken.feed.batch = lambda index, share: original(index, share) if index < 6 else 1 / 0  # type: ignore
    with pytest.raises(ZeroDivisionError):
        broken.run(tmp_path / "broken")
    resumed = tiny_trainer(config).run(tmp_path / "broken")
    expected, found = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
