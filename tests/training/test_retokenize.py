"""Another image tokenizer for a trained model: counts, rows of the new codes, and what cannot be done."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mentor.checkpoint.store import Bundle
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.training.retokenize import TABLES, count_codes, retokenized
from tests.generation.tiny_bundle import CONFIG, tiny_bundle


def _tokenizer(codes: int, seed: int = 1, **changes: object) -> ImageTokenizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImageTokenizer(replace(CONFIG.image_tokenizer, codebook_size=codes, **changes)).eval()


def _logits(bundle: Bundle, tokens: Tensor) -> Tensor:
    ids = torch.tensor([[3, 6, 8]])
    with torch.no_grad():
        return bundle.mentor(ids, torch.ones_like(ids, dtype=torch.bool), None, tokens)


def test_counts_are_of_pairs_at_one_place() -> None:
    old, new = _tokenizer(5, seed=1), _tokenizer(7, seed=2)
    batches = [torch.rand(count, 3, 32, 32) * 2 - 1 for count in (3, 1)]
    counts = count_codes(old, new, batches)
    pairs = Counter(
        pair
        for pixels in batches
        for pair in zip(new.encode(pixels).flatten().tolist(), old.encode(pixels).flatten().tolist(), strict=True)
    )
    assert counts.shape == (7, 5) and counts.sum() == 4 * 16
    assert {(w, v): int(counts[w, v]) for w, v in counts.nonzero().tolist()} == dict(pairs)


def test_the_same_codes_in_another_order_give_the_same_model() -> None:
    bundle = tiny_bundle()
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))  # new code w is old code order[w]
    counts = torch.zeros(64, 64)
    counts[torch.arange(64), order] = 1e7
    renamed = retokenized(bundle, bundle.image_tokenizer, counts)
    tokens = torch.randint(64, (1, 16), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        _logits(renamed, tokens), _logits(bundle, order[tokens])[..., order], atol=1e-4, rtol=1e-4
    )


def test_a_new_code_is_the_mean_of_the_codes_at_its_places() -> None:
    bundle, image_tokenizer = tiny_bundle(), _tokenizer(100)
    counts = torch.zeros(100, 64)
    counts[0, 3], counts[0, 9] = 3e6, 1e6
    counts[1:99, :] = 1.0
    written = retokenized(bundle, image_tokenizer, counts)
    assert written.config.decoder.vocab_size == written.image_tokenizer.config.codebook_size == 100
    old, new = bundle.mentor.state_dict(), written.mentor.state_dict()
    for name in TABLES:
        torch.testing.assert_close(new[name][0], 0.75 * old[name][3] + 0.25 * old[name][9], atol=1e-4, rtol=1e-4)
        # What no picture shows is as the average of all, by how often they are seen.
        torch.testing.assert_close(new[name][99], counts.sum(0) @ old[name] / counts.sum(), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(new[name], old[name]) for name in old if name not in TABLES)
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(written.image_tokenizer.encode(pixels), image_tokenizer.encode(pixels))


def test_what_cannot_be_compared_is_told() -> None:
    bundle = tiny_bundle()
    coarse = _tokenizer(64, downsample=16, patch=8)
    with pytest.raises(ValueError, match="covers 8 px, one of the other 16 px"):
        count_codes(bundle.image_tokenizer, coarse, [torch.zeros(1, 3, 32, 32)])
    with pytest.raises(ValueError, match="at least one picture"):
        count_codes(bundle.image_tokenizer, bundle.image_tokenizer, [])
    with pytest.raises(ValueError, match=r"expected counts of 100 new and 64 old codes, got \(64, 100\)"):
        retokenized(bundle, _tokenizer(100), torch.ones(64, 100))
