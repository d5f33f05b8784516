"""Packing changes no number: the same logits, losses and gradients as with padding, dropped prompts included."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mentor.config.model import ConnectorConfig, MentorConfig
from mentor.models.language import similar
from mentor.models.mentor import Mentor
from tests.generation.tiny_bundle import CONFIG

VARIANTS: dict[str, MentorConfig] = {
    "bert": CONFIG,
    "t5": replace(CONFIG, language=replace(CONFIG.language, kind="t5", head_width=8)),
    "query former": replace(
        CONFIG,
        connector=ConnectorConfig(
            kind="query_former", hidden=16, queries=4, num_layers=2, num_heads=2, mlp_width=32, vocab_size=20
        ),
    ),
    "zero": replace(CONFIG, decoder=replace(CONFIG.decoder, prefix_rope="zero")),
    "frozen null": replace(CONFIG, null_condition="frozen"),
    "text only": replace(CONFIG, vision=None, connector=None),
}


def _mentor(config: MentorConfig) -> Mentor:
    torch.manual_seed(0)
    mentor = Mentor(config)
    with torch.no_grad():
        for parameter in mentor.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return mentor


def _batch(config: MentorConfig, lengths: list[int]) -> dict[str, Tensor | None]:
    """Prompts of these lengths; those of 6 tokens and more hold an image."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    ids = torch.randint(2, config.language.vocab_size, mask.shape, generator=generator)
    images = [row for row, length in enumerate(lengths) if length >= 6] if config.vision is not None else []
    for row in images:
        ids[row, 1 : 1 + config.tokens_per_image] = config.language.image_token_id
    vision = CONFIG.vision
    batch: dict[str, Tensor | None] = {
        "input_ids": ids.masked_fill(~mask, config.language.pad_token_id),
        "attention_mask": mask,
        "features": torch.randn(len(images), vision.tokens_per_image, vision.width, generator=generator),
        "tokens": torch.randint(config.decoder.vocab_size, (len(lengths), 16), generator=generator),
        "drop": torch.arange(len(lengths)) % 3 == 1,
    }
    if config.connector is not None and config.connector.kind == "query_former":
        batch["query_ids"] = torch.randint(1, 20, (len(images), 3), generator=generator)
        batch["query_mask"] = torch.ones(len(images), 3, dtype=torch.bool)
    return batch if config.vision is not None else batch | {"features": None}


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_and_gradients_equal_the_padded_ones(name: str) -> None:
    config = VARIANTS[name]
    lengths = [3, 20, 9, 7, 24, 1, 8]
    mentor, batch = _mentor(config), _batch(config, lengths)
    found = []
    for packed in (None, lengths):
        mentor.zero_grad()
        logits = mentor(**batch, lengths=packed)
        loss = F.cross_entropy(logits.flatten(0, 1), batch["tokens"].flatten())
        loss.backward()
        found.append((loss.detach(), {n: p.grad.clone() for n, p in mentor.named_parameters() if p.grad is not None}))
    (padded, gradients), (packed_loss, packed_gradients) = found
    torch.testing.assert_close(packed_loss, padded, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == packed_gradients.keys()
    assert ("null_condition" in gradients) == (config.null_condition == "learned")
    for key, gradient in gradients.items():
        torch.testing.assert_close(
            packed_gradients[key], gradient, atol=1e-5, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}"
        )


def test_logits_of_one_sample_do_not_depend_on_its_neighbours() -> None:
    mentor = _mentor(CONFIG).eval()
    batch = _batch(CONFIG, [3, 9, 5])
    with torch.no_grad():
        together = mentor(**batch, lengths=[3, 9, 5])
        alone = mentor(
            batch["input_ids"][:1, :3], batch["attention_mask"][:1, :3], None, batch["tokens"][:1], lengths=[3]
        )
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-5)


def test_a_prompt_beyond_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="the condition has 25 tokens, the model's context is 24"):
        _mentor(CONFIG)(**_batch(CONFIG, [25, 3]), lengths=[25, 3])


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60))
def test_groups_waste_at_most_an_eighth(lengths: list[int]) -> None:
    groups = similar(lengths)
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    for group in groups:
        held = [lengths[number] for number in group]
        assert max(held) * len(held) <= 1.125 * sum(held)


def test_groups_are_few() -> None:
    lengths = torch.randint(60, 300, (64,), generator=torch.Generator().manual_seed(0)).tolist()
    assert len(similar(lengths)) <= 10
