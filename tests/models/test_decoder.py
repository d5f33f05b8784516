"""What must hold for the decoder whatever its weights are (its numbers are pinned in tests/parity)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mentor.config.model import DecoderConfig
from mentor.models.decoder import Decoder, mlp_width

CONFIG = DecoderConfig(width=32, num_layers=2, num_heads=4, vocab_size=20, grid=3, mlp_width=48)
POLICIES = ("identity", "zero")


def decoder_with(**changes) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(replace(CONFIG, **changes))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(std=0.2)
    return decoder


@pytest.fixture
def inputs():
    """A prefix with rows of 5 and 2 valid tokens, its mask and all but the last image token."""
    torch.manual_seed(1)
    mask = torch.arange(5) >= torch.tensor([[0], [3]])
    return torch.randn(2, 5, 32) * mask[..., None], mask, torch.randint(0, 20, (2, 8))


def cached_logits(decoder, prefix, mask, tokens, *, static=False, hide_mask=False):
    cache = decoder.empty_cache(len(prefix), prefix.shape[1])
    logits = [decoder.prefill(prefix, mask, cache)]
    for index, column in enumerate(tokens.T):
        position = torch.tensor(index) if static else index
        logits.append(decoder.decode(column, position, None if hide_mask else mask, cache))
    return torch.stack(logits, dim=1)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("static", [False, True])
def test_cached_logits_are_the_uncached(inputs, policy, static):
    decoder = decoder_with(prefix_rope=policy)
    with torch.no_grad():
        torch.testing.assert_close(cached_logits(decoder, *inputs, static=static), decoder(*inputs))


def test_without_padding_the_mask_may_be_left_out(inputs):
    decoder = decoder_with()
    prefix, mask, tokens = inputs
    full = torch.ones_like(mask)
    with torch.no_grad():
        torch.testing.assert_close(
            cached_logits(decoder, prefix, full, tokens, hide_mask=True), decoder(prefix, full, tokens)
        )


@pytest.mark.parametrize("policy", POLICIES)
def test_padding_changes_nothing(inputs, policy):
    decoder = decoder_with(prefix_rope=policy)
    prefix, mask, tokens = inputs
    unpadded = decoder(prefix[1:, 3:], mask[1:, 3:], tokens[1:])
    torch.testing.assert_close(decoder(prefix, mask, tokens)[1:], unpadded)
    rubbish = torch.where(mask[..., None], prefix, torch.randn_like(prefix))
    torch.testing.assert_close(decoder(rubbish, mask, tokens)[1:], unpadded)


@pytest.mark.parametrize("changed", [0, 4, 7])
def test_a_token_changes_only_what_follows_it(inputs, changed):
    decoder = decoder_with()
    prefix, mask, tokens = inputs
    other = tokens.clone()
    other[:, changed] = (other[:, changed] + 1) % 20
    before, after = decoder(prefix, mask, tokens), decoder(prefix, mask, other)
    assert torch.equal(before[:, : changed + 1], after[:, : changed + 1])
    assert not torch.isclose(before[:, changed + 1], after[:, changed + 1]).all(-1).any()


def test_every_condition_token_matters_to_every_image_token(inputs):
    decoder = decoder_with()
    prefix, mask, tokens = inputs
    base = decoder(prefix, mask, tokens)[0]
    for row in range(5):
        changed = prefix.clone()
        changed[0, row] += 1
        assert ((decoder(changed, mask, tokens)[0] - base).abs().amax(-1) > 1e-5).all()


def test_train_and_eval_agree_without_dropout_and_differ_with_it(inputs):
    targets = torch.randint(0, 20, (2, 9))

    def losses(decoder):
        return [
            F.cross_entropy(decoder.train(mode)(*inputs).flatten(0, 1), targets.flatten()) for mode in (True, False)
        ]

    train, evaluation = losses(decoder_with())
    assert torch.equal(train, evaluation)
    for name in ("token_dropout", "residual_dropout", "mlp_dropout"):
        train, evaluation = losses(decoder_with(**{name: 0.5}))
        assert not torch.isclose(train, evaluation), name


def test_cast_and_meta_leave_the_rotation_exact(inputs):
    exact = decoder_with().rotation
    assert torch.equal(decoder_with().bfloat16().rotation, exact)
    with torch.device("meta"):
        decoder = Decoder(CONFIG)
    decoder.load_state_dict(decoder_with().state_dict(), assign=True)
    assert torch.equal(decoder(*inputs), decoder_with()(*inputs))


def test_bfloat16_weights_give_float32_logits_close_to_the_exact(inputs):
    prefix, mask, tokens = inputs
    decoder = decoder_with()
    exact = decoder(prefix, mask, tokens)
    half = decoder.bfloat16()
    rounded = half(prefix.bfloat16(), mask, tokens)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() < 0.03 * exact.norm()
    with torch.no_grad():
        cached = cached_logits(half, prefix.bfloat16(), mask, tokens)
    assert (cached - exact).norm() < 0.03 * exact.norm()


def test_released_shape():
    """The xl decoder has the released model's number of parameters (777,678,080 less the projector's 4,259,840)."""
    config = DecoderConfig(width=1280, num_layers=36, num_heads=20, vocab_size=16384, grid=32)
    assert mlp_width(config) == 3584
    with torch.device("meta"):
        decoder = Decoder(config)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == 777_678_080 - 4_259_840


def test_starts_near_the_uniform_loss(inputs):
    torch.manual_seed(0)
    logits = Decoder(CONFIG)(*inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), torch.randint(0, 20, (18,)))
    torch.testing.assert_close(loss, torch.tensor(20.0).log(), atol=0.1, rtol=0.0)


def test_user_mistakes(inputs):
    prefix, mask, tokens = inputs
    with pytest.raises(ValueError, match="leave out the last token"):
        decoder_with()(prefix, mask, torch.cat((tokens, tokens[:, :1]), dim=1))
    with pytest.raises(ValueError, match="multiple of num_heads"):
        decoder_with(num_heads=5)
