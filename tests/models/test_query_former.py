"""The Query-Former against InstructBLIP's own model, its masks, its gradients and the size of the paper's variant."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, InstructBlipQFormerConfig

from mentor.config.presets import PRESETS
from mentor.models.query_former import QueryFormerConnector
from tests.models.test_connector import QUERY_FORMER as CONFIG

WIDTH, OUT = 24, 12
IDS = torch.tensor([[5, 6, 7, 8], [9, 3, 0, 0], [2, 0, 0, 0]])
MASK = IDS > 0


@pytest.fixture
def connector() -> QueryFormerConnector:
    torch.manual_seed(0)
    made = QueryFormerConnector(CONFIG, WIDTH, OUT).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made


def features(images: int = 3) -> torch.Tensor:
    return torch.randn(images, 9, WIDTH, generator=torch.Generator().manual_seed(1))


def instruct_blip() -> InstructBlipForConditionalGeneration:
    """Pictures of 6 x 6 pixels become 9 patches and a class token."""
    return InstructBlipForConditionalGeneration(
        InstructBlipConfig(
            vision_config={
                "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                "image_size": 6, "patch_size": 2,
            },
            qformer_config={
                "vocab_size": CONFIG.vocab_size, "hidden_size": CONFIG.hidden, "num_hidden_layers": CONFIG.num_layers,
                "num_attention_heads": CONFIG.num_heads, "intermediate_size": CONFIG.mlp_width,
                "max_position_embeddings": CONFIG.max_positions,
            },
            text_config={
                "model_type": "t5", "d_model": OUT, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 20
            },
            num_query_tokens=CONFIG.queries,
        )
    ).eval()  # fmt: skip


@pytest.mark.parametrize("words", [None, torch.zeros(0, 4, dtype=torch.int64)])
def test_without_images_every_weight_still_takes_part(connector, words):
    """Weights that one process leaves out while others use them would make those wait (FSDP)."""
    made = connector(features(0), words)
    assert made.shape == (0, CONFIG.queries, OUT)
    made.sum().backward()
    connector(features(3), None if words is None else IDS)[:0].sum().backward()
    with torch.no_grad():
        assert connector(features(0), words).shape == made.shape
    grads = {name: weight.grad for name, weight in connector.named_parameters()}
    used = {name for name, grad in grads.items() if grad is not None}
    assert all(not grads[name].any() for name in used)
    for weight in connector.parameters():
        weight.grad = None
    connector(features(0), words).sum().backward()
    assert {name for name, weight in connector.named_parameters() if weight.grad is not None} == used


def test_equals_instructblip(connector):
    reference = instruct_blip()
    named = {name: value for name, value in reference.state_dict().items() if name in connector.state_dict()}
    assert named.keys() == connector.state_dict().keys()
    reference.load_state_dict(connector.state_dict(), strict=False)
    pixels = torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        image = reference.vision_model(pixels).last_hidden_state
        expected = reference.get_image_features(pixels, IDS, MASK.long()).pooler_output
        torch.testing.assert_close(connector(image, IDS, MASK), expected, atol=1e-5, rtol=1e-5)


def test_each_image_has_its_own_text_and_padding_changes_nothing(connector):
    with torch.no_grad():
        together = connector(features(), IDS, MASK)
        for image, length in enumerate(MASK.sum(1).tolist()):
            one = slice(image, image + 1)
            alone = connector(features()[one], IDS[one, :length])
            torch.testing.assert_close(together[one], alone, atol=1e-6, rtol=1e-5)
        garbage = IDS.masked_fill(~MASK, 11)
        assert torch.equal(connector(features(), garbage, MASK), together)


def test_text_and_image_both_move_the_queries(connector):
    with torch.no_grad():
        made, plain = connector(features(), IDS, MASK), connector(features())
        other_text, other_image = connector(features(), IDS.flip(1)), connector(features() + 1, IDS, MASK)
    for other in (plain, other_text, other_image):
        assert (made - other).abs().amax(dim=(1, 2)).min() > 1e-2


def test_all_learns_but_what_only_the_last_text_states_pass_through(connector):
    connector(features(), IDS, MASK).square().sum().backward()
    silent = {name for name, weight in connector.named_parameters() if not weight.grad.any()}
    last = f"qformer.encoder.layer.{CONFIG.num_layers - 1}."
    assert silent == {
        n for n, _ in connector.named_parameters() if n.startswith((f"{last}intermediate.", f"{last}output."))
    }
    assert connector.query_tokens.grad.abs().amax(-1).min() > 0
    assert not connector.query_tokens.grad[0, 0].equal(connector.query_tokens.grad[0, 1])


def test_without_images_the_loss_has_no_gradient_and_no_error(connector):
    made = connector(features(0), IDS[:0, :0], MASK[:0, :0])
    made.sum().backward()
    assert not connector.query_tokens.grad.any()


def test_attention_implementations_and_number_types_agree(connector):
    with torch.no_grad():
        fused = connector(features(), IDS, MASK)
        connector.qformer.set_attn_implementation("eager")
        torch.testing.assert_close(connector(features(), IDS, MASK), fused, atol=1e-5, rtol=1e-5)
        connector.qformer.set_attn_implementation("sdpa")
        low = connector.bfloat16()(features(), IDS, MASK)
    assert low.dtype is torch.bfloat16
    assert (low.float() - fused).norm() / fused.norm() < 0.02


def test_queries_start_different_and_dropout_is_for_training_only():
    torch.manual_seed(0)
    fresh = QueryFormerConnector(dataclasses.replace(CONFIG, dropout=0.5), WIDTH, OUT)
    gaps = torch.pdist(fresh.query_tokens[0])
    assert gaps.min() > 0.01
    with torch.no_grad():
        assert not fresh.train()(features(), IDS, MASK).equal(fresh(features(), IDS, MASK))
        assert fresh.eval()(features(), IDS, MASK).equal(fresh(features(), IDS, MASK))


def test_the_paper_variant_has_the_published_sizes():
    preset = PRESETS["xl-query-former"]
    with torch.device("meta"):
        connector = QueryFormerConnector(preset.connector, preset.vision.width, preset.language.width)
    made, published = connector.qformer.config.to_dict(), InstructBlipQFormerConfig().to_dict()
    differing = {name for name in published if published[name] != made[name]}
    assert differing == {"vocab_size", "encoder_hidden_size"}  # BERT's words and one more; CLIP-L instead of EVA
    assert (preset.connector.vocab_size, preset.connector.queries) == (30523, 32)
    width, feed_forward = 768, 2 * 768 * 3072 + 3072 + 3 * 768
    attention, image_attention = 4 * width * (width + 1) + 2 * width, 2 * width * (width + 1 + 1024 + 1) + 2 * width
    words = (30523 + 512 + 2) * width
    qformer = words + 12 * (attention + 2 * feed_forward) + 6 * image_attention
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in connector.named_children()}
    assert parts == {"qformer": qformer, "language_projection": (width + 1) * 2048}
    assert sum(p.numel() for p in connector.parameters()) == qformer + (width + 1) * 2048 + 32 * width == 183_720_704


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 0}, "connector.queries of 1 or more, got 0"),
        ({"vocab_size": 0}, "connector.vocab_size of 1 or more"),
        ({"num_heads": 3}, "hidden 16 does not divide into connector.num_heads 3"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        QueryFormerConnector(dataclasses.replace(CONFIG, **change), WIDTH, OUT)


def test_texts_that_do_not_belong_are_refused(connector):
    with pytest.raises(ValueError, match="3 texts for 2 images"):
        connector(features(2), IDS, MASK)
    with pytest.raises(ValueError, match="9 tokens, the Query-Former has 8 positions"):
        connector(features(1), torch.ones(1, 9, dtype=torch.int64))
