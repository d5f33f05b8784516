"""The sampling filters against the reference."""

from __future__ import annotations

import pytest
import torch

from mentor.generation.sampling import keep_top_k, keep_top_p, sample


@pytest.mark.parametrize("number", range(6))
def test_probabilities_and_greedy_choice(golden, number):
    fixture = golden("sampling")
    case = fixture.meta["cases"][number]
    logits = fixture.io["in.logits"][:, -1]
    filtered = keep_top_p(keep_top_k(logits / case["temperature"], case["top_k"]), case["top_p"])
    torch.testing.assert_close(filtered.softmax(-1), fixture.io[f"out.{number}.probs"])
    greedy = sample(logits, temperature=0.0, generators=[torch.Generator()] * len(logits))
    assert torch.equal(greedy, fixture.io[f"out.{number}.greedy"][:, 0])
