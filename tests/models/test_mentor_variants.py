"""What a configuration may ask of the whole model: text only, null conditions, long contexts, an encoder in bfloat16."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentor.config.model import (
    ConnectorConfig,
    DecoderConfig,
    ImageTokenizerConfig,
    LanguageConfig,
    MentorConfig,
    ProjectorConfig,
    VisionConfig,
)
from mentor.models.mentor import Mentor
from mentor.nn.masks import left_pad

IMAGE = 1
VISION = VisionConfig(
    kind="clip", image_size=8, layers=(-2,), width=8, tokens_per_image=4,
    hidden_size=8, num_layers=2, num_heads=2, mlp_width=16, patch_size=4,
)  # fmt: skip
TEXT_ONLY = MentorConfig(
    name="text only",
    language=LanguageConfig(
        kind="t5", width=16, num_layers=2, num_heads=2, mlp_width=24, vocab_size=20, image_token_id=IMAGE, head_width=8
    ),
    projector=ProjectorConfig(),
    decoder=DecoderConfig(
        width=32, num_layers=2, num_heads=2, vocab_size=24, grid=3, mlp_width=40, prefix_rope="zero", norm_eps=1e-3
    ),
    image_tokenizer=ImageTokenizerConfig(backbone="patchify", downsample=8, codebook_size=24),
    context=12,
)
FULL = replace(TEXT_ONLY, name="full", vision=VISION, connector=ConnectorConfig())


def build(config: MentorConfig) -> Mentor:
    """Weights large enough that everything moves the logits, drawn alike for every configuration of the same parts."""
    torch.manual_seed(0)
    mentor = Mentor(config).eval()
    for name, tensor in sorted(mentor.state_dict().items()):
        if tensor.is_floating_point() and "norm" not in name:
            nn.init.normal_(tensor, std=0.3)
    return mentor


def text() -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.tensor([[5, 9, 3, 7, 4], [6, 2, 0, 0, 0]])
    return ids, ids != 0, torch.randint(0, 24, (2, 9), generator=torch.Generator().manual_seed(1))


def test_a_text_only_model_has_no_eyes():
    mentor = build(TEXT_ONLY)
    assert mentor.encoder.vision is None
    assert mentor.encoder.connector is None
    assert not [name for name in mentor.state_dict() if "vision" in name or "connector" in name]
    ids, mask, _ = text()
    with pytest.raises(ValueError, match="reads text only"):
        mentor.condition(ids, mask, torch.zeros(1, 4, 8))


def stock_llamagen(mentor: Mentor, ids: Tensor, tokens: Tensor, *, dropped: bool) -> Tensor:
    """One unpadded prompt int64 [S] and its image int64 [L] -> logits [L, V], written down from LlamaGen's definition."""
    from transformers import T5Config, T5EncoderModel

    weights, config = mentor.state_dict(), mentor.config
    sizes = T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.0)
    sizes.is_gated_act, sizes.dense_act_fn = True, "gelu"
    t5 = T5EncoderModel(sizes).eval()
    prefix = "encoder.language.model."
    t5.encoder.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    caption = t5(input_ids=ids[None]).last_hidden_state[0]
    if dropped:
        caption = weights["null_condition"][-len(ids) :]
    hidden = F.gelu(caption @ weights["projector.fc1.weight"].T, approximate="tanh")
    caption = hidden @ weights["projector.fc2.weight"].T
    x = torch.cat([caption, weights["decoder.tok_embeddings.weight"][tokens[:-1]]])

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + config.decoder.norm_eps).sqrt() * weights[name]

    def turned(heads: Tensor) -> Tensor:
        """[T, H, K]: the prefix erased, image token n turned by row n // 3 (first half of the pairs) and column n % 3."""
        for position in range(len(heads)):
            place = position - len(ids)
            for pair in range(8):
                angle = (place // 3 if pair < 4 else place % 3) / 10000 ** (pair % 4 / 4)
                angle = torch.tensor(float(angle))
                a, b = heads[position, :, 2 * pair].clone(), heads[position, :, 2 * pair + 1].clone()
                seen = 0.0 if place < 0 else 1.0
                heads[position, :, 2 * pair] = seen * (a * angle.cos() - b * angle.sin())
                heads[position, :, 2 * pair + 1] = seen * (a * angle.sin() + b * angle.cos())
        return heads

    for layer in range(2):
        at = f"decoder.layers.{layer}."
        q, k, v = (norm(x, at + "attention_norm.weight") @ weights[at + "attention.wqkv.weight"].T).split(32, dim=-1)
        q, k, v = turned(q.view(-1, 2, 16).clone()), turned(k.view(-1, 2, 16).clone()), v.view(-1, 2, 16)
        scores = torch.einsum("ihk,jhk->hij", q, k) / 4
        assert not scores[:, :, : len(ids)].any()  # every key of the prefix has the logit 0
        later = torch.ones(len(x), len(x)).triu(1).bool()
        mixed = torch.einsum("hij,jhk->ihk", scores.masked_fill(later, -torch.inf).softmax(-1), v).flatten(1)
        x = x + mixed @ weights[at + "attention.wo.weight"].T
        h = norm(x, at + "ffn_norm.weight")
        gate = F.silu(h @ weights[at + "feed_forward.w1.weight"].T) * (h @ weights[at + "feed_forward.w3.weight"].T)
        x = x + gate @ weights[at + "feed_forward.w2.weight"].T
    return (norm(x, "decoder.norm.weight") @ weights["decoder.output.weight"].T)[len(ids) - 1 :]


@pytest.mark.parametrize("dropped", [False, True])
def test_a_text_only_model_is_stock_llamagen(dropped):
    mentor = build(TEXT_ONLY)
    ids, mask, tokens = text()
    with torch.no_grad():
        logits = mentor(ids, mask, None, tokens, torch.full((2,), dropped))
        for row in range(2):
            expected = stock_llamagen(mentor, ids[row][mask[row]], tokens[row], dropped=dropped)
            torch.testing.assert_close(logits[row], expected, atol=2e-4, rtol=1e-3)


def test_prompts_without_images_need_no_features():
    mentor = build(FULL)
    ids, mask, tokens = text()
    with torch.no_grad():
        without = mentor(ids, mask, None, tokens)
        empty = mentor(ids, mask, mentor.encoder.encode_images(torch.zeros(0, 3, 8, 8)), tokens)
    assert torch.equal(without, empty)
    with pytest.raises(ValueError, match="4 image placeholders, but 0 images"):
        mentor.condition(torch.full((1, 4), IMAGE), torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize(("kind", "trained"), [("learned", True), ("frozen", False)])
def test_the_null_condition_is_trained_or_stays_to_the_bit_and_is_saved_either_way(kind, trained):
    mentor = build(replace(FULL, null_condition=kind))
    before = mentor.null_condition.detach().clone()
    assert before.any()
    assert ("null_condition" in dict(mentor.named_parameters())) is trained
    ids, mask, tokens = text()
    optimizer = torch.optim.AdamW(mentor.parameters(), lr=0.1, weight_decay=0.1)
    logits = mentor(ids, mask, None, tokens, torch.tensor([True, False]))
    F.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    optimizer.step()
    assert torch.equal(mentor.null_condition, before) is not trained
    state = mentor.state_dict()
    assert torch.equal(state["null_condition"], mentor.null_condition)
    copy = Mentor(mentor.config)
    copy.load_state_dict(state)
    assert torch.equal(copy.null_condition, mentor.null_condition)


def test_a_frozen_null_condition_gives_what_a_learned_one_gives():
    ids, mask, tokens = text()
    logits = []
    for kind in ("learned", "frozen"):
        mentor = build(FULL)
        other = Mentor(replace(FULL, null_condition=kind)).eval()
        other.load_state_dict(mentor.state_dict())
        logits.append(other(ids, mask, None, tokens, torch.tensor([True, True])))
    assert torch.equal(*logits)


def test_the_encoder_is_kept_in_its_own_number_type_and_hands_over_the_decoders():
    mentor = build(replace(FULL, encoder_dtype="bfloat16"))
    ids = torch.tensor([[5, IMAGE, IMAGE, IMAGE, IMAGE, 3], [6, 2, 0, 0, 0, 0]])
    mask = ids != 0
    floating = {name: tensor.dtype for name, tensor in mentor.named_parameters()}
    assert {dtype for name, dtype in floating.items() if name.startswith("encoder.")} == {torch.bfloat16}
    assert {dtype for name, dtype in floating.items() if not name.startswith("encoder.")} == {torch.float32}
    pixels = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        features = mentor.encoder.encode_images(pixels)
        states, _ = mentor.condition(ids, mask, features)
        encoded = mentor.encoder(ids, mask, features)
        assert features.dtype == encoded.dtype == torch.bfloat16
        assert states.dtype == torch.float32
        assert torch.equal(states, left_pad(encoded, mask)[0].float())
        single = mentor.float()
        exact, _ = single.condition(ids, mask, single.encoder.encode_images(pixels))
        assert 0 < (states - exact).abs().max() < 0.1 * exact.abs().max()
        tokens = torch.randint(0, 24, (2, 9))
        assert mentor.bfloat16()(ids, mask, features, tokens).dtype == torch.float32


@pytest.mark.parametrize(("context", "images"), [(512, 1), (1280, 4)])
def test_a_prompt_may_fill_the_context_and_not_more(context, images):
    vision = replace(VISION, image_size=32, patch_size=2, tokens_per_image=256)
    mentor = build(replace(FULL, vision=vision, context=context))
    words = torch.full((context - 256 * images,), 5)
    ids = torch.cat([torch.full((256 * images,), IMAGE), words])[None]
    mask = torch.ones_like(ids, dtype=torch.bool)
    features = torch.randn(images, 256, 8)
    tokens = torch.randint(0, 24, (1, 9))
    with torch.no_grad():
        logits = [mentor(ids, mask, features, tokens, torch.tensor([drop])) for drop in (False, True)]
        assert all(torch.isfinite(each).all() for each in logits)
        assert not torch.allclose(*logits)
        states, left = mentor.condition(ids, mask, features)
        assert torch.equal(
            mentor.prefix(states, left, torch.tensor([True])), mentor.projector(mentor.null_condition[None])
        )
        wider = F.pad(ids, (0, 1), value=5), F.pad(mask, (0, 1), value=True)
        with pytest.raises(ValueError, match=f"{context + 1} tokens, the model's context is {context}"):
            mentor(*wider, features, tokens)
