"""Models without numbers in their weights: same names, shapes and tables as built ones, nothing drawn, nothing written."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mentor.checkpoint.build import Uninitialized, allocate
from mentor.config.model import ConnectorConfig, LanguageConfig
from mentor.config.presets import PRESETS
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from tests.generation.tiny_bundle import CONFIG

T5 = LanguageConfig(
    kind="t5", width=16, num_layers=2, num_heads=2, mlp_width=32, vocab_size=40, image_token_id=39, head_width=8
)
QUERY_FORMER = ConnectorConfig(
    kind="query_former", hidden=16, queries=3, num_layers=2, num_heads=2, mlp_width=32, vocab_size=50, max_positions=20
)
CONFIGS = {
    "tiny": CONFIG,
    "bfloat16 encoder": replace(CONFIG, encoder_dtype="bfloat16", null_condition="frozen"),
    "t5": replace(CONFIG, language=T5),
    "query former": replace(CONFIG, connector=QUERY_FORMER),
    "text only": replace(CONFIG, vision=None, connector=None),
    "mini": PRESETS["mini-64"],
    "llamagen tokenizer": replace(
        CONFIG, image_tokenizer=replace(PRESETS["xl"].image_tokenizer, channels=32, latent_channels=32)
    ),
}


def described(module: nn.Module) -> dict[str, tuple]:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        name: (tensor.dtype, tensor.shape, tensor.stride(), tensor.requires_grad, isinstance(tensor, nn.Parameter))
        for name, tensor in tensors.items()
    }


def temporary_buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    """What no file holds."""
    stored = module.state_dict().keys()
    return {name: buffer for name, buffer in module.named_buffers() if name not in stored}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_allocated_model_is_a_built_one_but_for_its_numbers(name):
    config = CONFIGS[name]
    before = torch.get_rng_state()
    mentor, image_tokenizer = allocate(config)
    assert torch.equal(torch.get_rng_state(), before)
    built = Mentor(config).eval(), ImageTokenizer(config.image_tokenizer).eval()
    for ours, theirs in zip((mentor, image_tokenizer), built, strict=True):
        assert described(ours) == described(theirs)
        assert [module.training for module in ours.modules()] == [module.training for module in theirs.modules()]
        for key, buffer in temporary_buffers(theirs).items():
            assert torch.equal(temporary_buffers(ours)[key], buffer)
        ours.load_state_dict(theirs.state_dict())
    assert torch.equal(mentor.decoder.rotation, built[0].decoder.rotation)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_the_default_number_format_changes_nothing(name, default):
    usual = allocate(CONFIGS[name])
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        ours = allocate(CONFIGS[name])
        assert torch.get_default_dtype() is default
    finally:
        torch.set_default_dtype(before)
    assert [described(module) for module in ours] == [described(module) for module in usual]
    assert ours[0].decoder.rotation.dtype == torch.float32
    for key, buffer in temporary_buffers(usual[0]).items():
        assert torch.equal(temporary_buffers(ours[0])[key], buffer)


def test_the_tiny_model_has_tables_that_no_file_holds():
    """Else the test above shows nothing of them."""
    assert {name.rpartition(".")[2] for name in temporary_buffers(Mentor(CONFIG))} >= {"position_ids", "token_type_ids"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_type_goes_to_all_weights_and_to_no_table(dtype):
    config = replace(CONFIG, encoder_dtype="bfloat16")
    mentor, image_tokenizer = allocate(config, dtype)
    for module in (mentor, image_tokenizer):
        assert {tensor.dtype for tensor in module.state_dict().values()} == {dtype}
    assert mentor.decoder.rotation.dtype == torch.float32
    assert {tensor.dtype for tensor in temporary_buffers(mentor).values()} == {torch.int64}


STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux's account of a process's memory")
def test_nothing_is_written_to_the_weights():
    """1.2 billion numbers: 5 GB if they were written to, and half a minute if they were drawn."""

    def resident() -> int:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    config = replace(
        CONFIG,
        language=replace(CONFIG.language, width=2048, mlp_width=8192, num_layers=2, vocab_size=300_000),
        decoder=replace(CONFIG.decoder, width=2048, mlp_width=8192, num_layers=8),
        encoder_dtype="bfloat16",
    )
    before = resident()
    mentor, _ = allocate(config)
    assert sum(weight.numel() for weight in mentor.parameters()) > 1.2e9
    assert resident() - before < 100_000_000


def test_outside_of_the_block_weights_are_drawn_again():
    with Uninitialized():
        nn.Linear(3, 3)
    torch.manual_seed(0)
    first = nn.Linear(3, 3).weight
    torch.manual_seed(0)
    assert torch.equal(nn.Linear(3, 3).weight, first)
    assert first.abs().sum() > 0


def test_inside_it_tensors_that_are_no_weights_are_computed():
    with Uninitialized():
        table = torch.zeros(3).fill_(2.0)
        assert torch.equal(table.to(torch.bfloat16).float(), torch.full((3,), 2.0))
        assert float(torch.empty(2).zero_().sum()) == 0


@pytest.mark.parametrize("name", ["xl", "xl-query-former", "llamagen-xl", "mini-128"])
def test_models_of_any_size_can_be_built_on_the_meta_device(name):
    with torch.device("meta"):
        mentor = Mentor(PRESETS[name])
    assert all(weight.device.type == "meta" for weight in mentor.parameters())
    assert mentor.decoder.rotation.device.type == "cpu"
    assert mentor.to(torch.bfloat16).decoder.rotation.dtype == torch.float32
