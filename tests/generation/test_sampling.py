from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from mentor.generation.sampling import keep_top_k, keep_top_p, sample

ROWS = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=12)


def kept(logits: torch.Tensor) -> torch.Tensor:
    return logits[0] > -torch.inf


@given(ROWS, st.integers(-2, 15))
def test_top_k_keeps_the_largest(row, k):
    logits = torch.tensor([row])
    filtered = keep_top_k(logits, k)
    if k <= 0 or k >= len(row):
        assert filtered is logits
        return
    threshold = sorted(row)[-k]
    assert kept(filtered).tolist() == [value >= threshold for value in row]
    assert torch.equal(filtered[0][kept(filtered)], logits[0][kept(filtered)])


@given(ROWS, st.floats(0.01, 0.99))
def test_top_p_keeps_a_smallest_set_that_reaches_p(row, p):
    logits = torch.tensor([row])
    keep = kept(keep_top_p(logits, p))
    probabilities = logits[0].double().softmax(-1)
    inside = probabilities[keep]
    assert keep[logits[0].argmax()]
    assert inside.sum() > p - 1e-5
    assert inside.sum() - inside.min() <= p + 1e-5
    if not keep.all():
        assert probabilities[~keep].max() <= inside.min()


@given(ROWS, st.floats(0.05, 0.95), st.integers(1, 12))
def test_filters_match_transformers(row, p, k):
    logits = torch.tensor([row])
    if len(set(row)) == len(row) and k < len(row):  # transformers breaks ties of top-p in another order
        assert torch.equal(keep_top_k(logits, k), TopKLogitsWarper(k)(None, logits))
        theirs = TopPLogitsWarper(p)(None, logits)
        mass = logits[0].double().sort(descending=True).values.softmax(-1).cumsum(-1)
        if (mass - p).abs().min() > 1e-5:  # a set that just reaches p may go either way
            assert torch.equal(kept(keep_top_p(logits, p)), kept(theirs))


def test_no_filter_returns_its_argument():
    logits = torch.randn(1, 5)
    assert keep_top_p(logits, 1.0) is logits
    assert keep_top_k(logits, 5) is logits


@given(st.integers(0, 2**31), st.floats(0.2, 3.0), st.integers(1, 8), st.floats(0.1, 1.0))
def test_samples_are_kept_tokens(seed, temperature, top_k, top_p):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 8, generator=generator)
    allowed = kept(keep_top_p(keep_top_k(logits / temperature, top_k), top_p))
    token = sample(logits, temperature=temperature, top_k=top_k, top_p=top_p, generators=[generator])
    assert token.dtype == torch.int64
    assert allowed[token]


def test_frequencies_are_the_probabilities():
    logits = torch.tensor([2.0, 0.5, -1.0, 1.0])
    draws = 20_000
    # One generator in turn for every row: independent draws.
    tokens = sample(logits.expand(draws, 4), temperature=0.7, generators=[torch.Generator().manual_seed(0)] * draws)
    expected = (logits / 0.7).softmax(-1)
    counted = tokens.bincount(minlength=4) / draws
    # Four standard deviations of a binomial proportion.
    assert ((counted - expected).abs() < 4 * (expected * (1 - expected) / draws).sqrt()).all()


def test_a_row_does_not_depend_on_its_neighbours():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together = sample(logits, generators=[torch.Generator().manual_seed(seed) for seed in (5, 6, 7)])
    for row, seed in enumerate((5, 6, 7)):
        alone = sample(logits[row : row + 1], generators=[torch.Generator().manual_seed(seed)])
        assert together[row] == alone[0]


def test_temperature_zero_is_greedy_and_draws_nothing():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert sample(torch.tensor([[0.0, 3.0, 1.0]]), temperature=0.0, generators=[generator]).tolist() == [1]
    assert torch.equal(generator.get_state(), before)


def test_a_generator_is_needed_for_every_row():
    with pytest.raises(ValueError, match="shorter"):
        sample(torch.zeros(2, 3), generators=[torch.Generator()])
