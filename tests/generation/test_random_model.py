"""Models of random weights: every weight is written, in the type asked for, and a prompt goes through."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

from mentor.config.model import ConnectorConfig, MentorConfig
from mentor.config.presets import PRESETS
from mentor.data.processor import Processor
from mentor.generation import random_model
from mentor.generation.random_model import fill, random_bundle
from mentor.prompt import Prompt
from tests.generation.tiny_bundle import CONFIG

CONFIGS = {
    "tiny": CONFIG,
    "frozen": replace(CONFIG, null_condition="frozen"),
    "query former": replace(
        CONFIG,
        connector=ConnectorConfig(
            kind="query_former", hidden=16, queries=4, num_layers=2, num_heads=2, mlp_width=32, vocab_size=9
        ),
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_weight_is_written(monkeypatch: pytest.MonkeyPatch, config: MentorConfig, dtype: torch.dtype) -> None:
    allocate = random_model.allocate

    def spoilt(*args):
        modules = allocate(*args)
        for module in modules:
            for weight in (*module.parameters(), *(b for n, b in module.named_buffers() if n == "null_condition")):
                weight.data.fill_(torch.nan)
        return modules

    monkeypatch.setattr(random_model, "allocate", spoilt)
    bundle = random_bundle(config, dtype)
    for module in (bundle.mentor, bundle.image_tokenizer):
        for name, weight in module.named_parameters():
            assert weight.dtype is dtype, name
            assert weight.isfinite().all(), name
            assert weight.ndim == 1 or 0.01 < weight.std() < 0.03, (name, weight.std())
    assert bundle.mentor.null_condition.isfinite().all()
    assert not bundle.mentor.training


def test_a_supply_that_is_used_up_begins_again() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last))
    fill(module, torch.arange(7.0))
    linear, convolution = module
    assert linear.weight.flatten().tolist() == [n % 7 for n in range(15)]
    in_memory = convolution.weight.permute(0, 2, 3, 1).flatten().tolist()
    assert in_memory == [(15 + n) % 7 for n in range(72)]
    assert not linear.bias.any() and not convolution.bias.any()


@pytest.mark.parametrize("name", PRESETS)
def test_prompts_of_every_preset_become_ids(name: str) -> None:
    config = PRESETS[name]
    words, image = random_model._text_tokenizer(config), config.language.image_token_id
    queries = random_model._tokenizer({"word": 1})
    processor = Processor(config, words, queries)
    if config.vision is None:
        assert len(processor.encode_text("one two three")) == 3
        return
    ids = processor.encode_text("<image> one two three")
    assert ids[: config.tokens_per_image] == [image] * config.tokens_per_image
    assert len(ids) == config.tokens_per_image + 3 and image not in ids[config.tokens_per_image :]
    assert config.language.pad_token_id not in ids
    processor.encode_queries(Prompt("<image> one", [Image.new("RGB", (8, 8))]))
