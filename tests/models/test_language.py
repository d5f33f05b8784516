"""Language encoders entered above their embedding table, against the library's classes entered below it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mentor.config.model import LanguageConfig
from mentor.models.language import build_language_encoder

BERT = LanguageConfig(
    kind="bert", width=24, num_layers=2, num_heads=3, mlp_width=48, vocab_size=50, image_token_id=7, max_positions=32
)
T5 = dataclasses.replace(BERT, kind="t5", head_width=5)


@pytest.fixture(params=[BERT, T5], ids=["bert", "t5"])
def encoder(request):
    torch.manual_seed(0)
    return build_language_encoder(request.param).eval()


def test_word_embeddings_give_what_ids_give(encoder):
    ids = torch.randint(1, 50, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.bool)
    with torch.no_grad():
        expected = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(encoder(encoder.embed(ids), mask), expected)


def test_padding_changes_nothing(encoder):
    ids = torch.randint(1, 50, (1, 6))
    padded = torch.cat([ids, torch.zeros(1, 5, dtype=torch.int64)], dim=1)
    with torch.no_grad():
        alone = encoder(encoder.embed(ids), torch.ones(1, 6, dtype=torch.bool))
        beside = encoder(encoder.embed(padded), torch.arange(11).unsqueeze(0) < 6)
    torch.testing.assert_close(beside[:, :6], alone, atol=1e-5, rtol=1e-5)
    assert torch.isfinite(beside).all()


def test_order_matters_and_attention_looks_both_ways(encoder):
    torch.manual_seed(0)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ids, mask = torch.randint(1, 50, (1, 6)), torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        embeds = encoder.embed(ids)
        states = encoder(embeds, mask)
        assert not torch.allclose(encoder(embeds.flip(1), mask).flip(1), states, atol=1e-3)
        embeds[0, -1] += torch.randn(24)
        assert not torch.allclose(encoder(embeds, mask)[0, 0], states[0, 0], atol=1e-4)


def test_the_configured_activation_is_used():
    ids, mask = torch.randint(1, 50, (1, 6)), torch.ones(1, 6, dtype=torch.bool)
    for config in (BERT, T5):
        states = []
        for activation in ("gelu", "gelu_new", "relu"):
            torch.manual_seed(0)
            encoder = build_language_encoder(dataclasses.replace(config, activation=activation)).eval()
            with torch.no_grad():
                for parameter in encoder.parameters():
                    torch.nn.init.normal_(parameter, std=0.3)
                states.append(encoder(encoder.embed(ids), mask))
        assert not torch.equal(states[0], states[1])
        assert not torch.equal(states[0], states[2])


def test_t5_in_float16_stays_near_float32_where_its_products_leave_the_range():
    """The released T5's feed-forward parts do; without their last product in float32 the sums become infinite."""
    torch.manual_seed(0)
    encoder, mask = build_language_encoder(T5).eval(), torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            parameter.normal_(std=40.0 if name.endswith(".wo.weight") else 2.0)
        embeds = encoder.embed(torch.randint(1, 50, (1, 6)))
        expected = encoder(embeds, mask)
        encoder.half()
        assert not torch.allclose(encoder(embeds.half(), mask).float(), expected, atol=0.05, rtol=0.05)
        encoder.keep_in_float32()
        kept = {name for name, each in encoder.named_parameters() if each.dtype is torch.float32}
        assert kept == {name for name, _ in encoder.named_parameters() if name.endswith(".wo.weight")}
        torch.testing.assert_close(encoder(embeds.half(), mask).float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "gpt"}, "unknown language.kind 'gpt'; known: bert, t5"),
        ({"image_token_id": 50}, "below vocab_size 50"),
        ({"image_token_id": 0}, "other than pad_token_id 0"),
        ({"head_width": 5}, "width // num_heads"),
    ],
)
def test_contradictions_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build_language_encoder(dataclasses.replace(BERT, **change))
