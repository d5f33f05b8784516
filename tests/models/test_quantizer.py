"""The vector quantiser and its running-average codebook."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mentor.models.quantizer import CodebookAverage, VectorQuantizer


def quantizer(size: int = 32, width: int = 8, seed: int = 0) -> VectorQuantizer:
    torch.manual_seed(seed)
    return VectorQuantizer(size, width)


def unit(count: int, width: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_codes_are_those_of_a_brute_force_search(batch: int, height: int, width: int, seed: int) -> None:
    q = quantizer(seed=seed)
    latents = torch.randn(batch, 8, height, width, generator=torch.Generator().manual_seed(seed))
    out = q(latents)
    rows = F.normalize(latents.double(), dim=1).permute(0, 2, 3, 1).reshape(-1, 8)
    codes = F.normalize(q.embedding.weight.detach().double(), dim=-1)
    distance = torch.cdist(rows, codes)
    taken = distance.gather(1, out.codes.reshape(-1, 1)).squeeze(1)
    assert out.codes.shape == (batch, height * width)
    torch.testing.assert_close(taken, distance.min(dim=1).values, atol=1e-5, rtol=0)


def test_length_of_a_latent_and_of_a_stored_code_does_not_matter() -> None:
    q = quantizer()
    latents = torch.randn(2, 8, 4, 4)
    before = q(latents)
    q.embedding.weight.data *= torch.rand(32, 1) + 0.5
    after = q(latents * 7.0)
    assert torch.equal(before.codes, after.codes)
    torch.testing.assert_close(before.latents, after.latents)
    torch.testing.assert_close(after.latents.norm(dim=1), torch.ones(2, 4, 4))


def test_quantising_codes_gives_the_same_codes() -> None:
    q = quantizer(size=64)
    codes = torch.randint(64, (2, 5, 5))
    again = q(q.lookup(codes))
    assert torch.equal(again.codes.view(2, 5, 5), codes)
    assert float(again.commitment.detach()) < 1e-12


def test_gradient_goes_straight_through_to_the_unit_latents() -> None:
    q = quantizer()
    latents = torch.randn(1, 8, 3, 3, requires_grad=True)
    weights = torch.randn(1, 8, 3, 3)
    (q(latents).latents * weights).sum().backward()
    plain = latents.detach().clone().requires_grad_()
    (F.normalize(plain, dim=1) * weights).sum().backward()
    assert latents.grad is not None and plain.grad is not None
    torch.testing.assert_close(latents.grad, plain.grad)
    assert q.embedding.weight.grad is None


def test_commitment_pulls_latents_to_their_codes_and_leaves_the_codes_alone() -> None:
    q = quantizer()
    latents = torch.randn(1, 8, 6, 6)
    first = float(q(latents).commitment.detach())
    latents.requires_grad_()
    for _ in range(20):
        (gradient,) = torch.autograd.grad(q(latents).commitment, latents)
        latents = (latents - 20.0 * gradient).detach().requires_grad_()
    assert float(q(latents).commitment.detach()) < 0.5 * first


def test_lookup_is_float32_under_autocast() -> None:
    q = quantizer(size=256)
    latents = torch.randn(2, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        inside = q(latents)
    assert inside.latents.dtype == torch.float32
    assert torch.equal(inside.codes, q(latents).codes)


def test_average_moves_codes_to_the_means_of_their_clusters() -> None:
    q = quantizer(size=4, width=2)
    angles = torch.tensor([0.3, 1.9, 3.4, 5.0])
    centres = torch.stack([angles.cos(), angles.sin()], dim=-1)
    q.embedding.weight.data.copy_(torch.stack([(angles + 0.4).cos(), (angles + 0.4).sin()], dim=-1))
    average = CodebookAverage(q)
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        labels = torch.randint(4, (400,), generator=generator)
        points = F.normalize(centres[labels] + 0.1 * torch.randn(400, 2, generator=generator), dim=-1)
        average.update(q, points, q.nearest(points), decay=0.9)
    torch.testing.assert_close(q.codebook.detach(), centres, atol=0.02, rtol=0)


def test_average_equals_the_recurrence_written_out() -> None:
    q = quantizer(size=3, width=2)
    average = CodebookAverage(q)
    counts, sums = torch.zeros(3), torch.zeros(3, 2)
    before = q.codebook.detach().clone()
    for step in range(4):
        points, codes = unit(10, 2, step), torch.tensor([0, 1] * 5)
        average.update(q, points, codes, decay=0.75)
        for k in range(3):
            counts[k] = 0.75 * counts[k] + 0.25 * (codes == k).sum()
            sums[k] = 0.75 * sums[k] + 0.25 * points[codes == k].sum(dim=0)
    torch.testing.assert_close(average.counts, counts)
    torch.testing.assert_close(average.sums, sums)
    torch.testing.assert_close(q.codebook.detach()[:2], F.normalize(sums[:2], dim=-1))
    torch.testing.assert_close(q.codebook.detach()[2], before[2])  # never used, restarts off: stays


def test_first_update_takes_the_whole_codebook_from_the_batch() -> None:
    q = quantizer(size=16, width=8)
    average = CodebookAverage(q)
    points = unit(200, 8, 1)
    assert average.update(q, points, q.nearest(points), decay=0.98, restart_below=0.1) == 16
    nearest = torch.cdist(q.codebook.detach(), points).min(dim=1).values
    assert float(nearest.max()) < 1e-3


def test_unused_codes_restart_and_used_codes_stay() -> None:
    q = quantizer(size=8, width=4)
    average = CodebookAverage(q)
    average.counts.fill_(10.0)
    average.sums.copy_(10.0 * q.codebook.detach())
    average.counts[5] = 0.01
    kept = q.codebook.detach().clone()
    points = unit(50, 4, 2)
    restarted = average.update(q, points[:0], torch.empty(0, dtype=torch.int64), decay=0.999, restart_below=0.0)
    assert restarted == 0
    codes = torch.zeros(50, dtype=torch.int64)
    restarted = average.update(
        q, points, codes, decay=0.999, restart_below=0.5, generator=torch.Generator().manual_seed(0)
    )
    assert restarted == 1
    assert float(torch.cdist(q.codebook.detach()[5:6], points).min()) < 1e-3
    others = [1, 2, 3, 4, 6, 7]
    torch.testing.assert_close(q.codebook.detach()[others], kept[others])


def test_usage_statistics_of_known_counts() -> None:
    average = CodebookAverage(quantizer(size=8, width=4))
    average.counts[:4] = 5.0
    assert average.usage() == pytest.approx({"codes_used": 0.5, "perplexity": 4.0}, abs=1e-4)


@pytest.mark.parametrize(("size", "width"), [(1, 8), (0, 8), (16, 0)])
def test_impossible_codebooks_are_refused(size: int, width: int) -> None:
    with pytest.raises(ValueError, match="codebook"):
        VectorQuantizer(size, width)


def test_bad_updates_are_refused() -> None:
    q = quantizer()
    average = CodebookAverage(q)
    with pytest.raises(ValueError, match="decay"):
        average.update(q, unit(4, 8, 0), torch.zeros(4, dtype=torch.int64), decay=1.0)
    with pytest.raises(ValueError, match="one code a latent"):
        average.update(q, unit(4, 8, 0), torch.zeros(3, dtype=torch.int64), decay=0.9)


@pytest.mark.parametrize("length", [0.01, 1.0])
def test_a_trained_codebook_is_kept_where_training_goes_on(length: float) -> None:
    """Without it the first batch would draw every code anew, as it must for a random codebook."""
    q, latents = quantizer(), unit(256, 8, 1)
    with torch.no_grad():  # released codebooks are stored in any length
        q.embedding.weight.copy_(F.normalize(q.embedding.weight, dim=-1) * length)
    before = F.normalize(q.embedding.weight.detach().clone(), dim=-1)
    codes = q.nearest(latents)
    average = CodebookAverage(q)
    average.keep(q, 8.0)
    assert average.update(q, latents, codes, decay=0.99, restart_below=1.2) == 0
    assert (F.normalize(q.embedding.weight, dim=-1) * before).sum(-1).min() > 0.99
    fresh = quantizer()
    assert CodebookAverage(fresh).update(fresh, latents, codes, decay=0.99, restart_below=1.2) == 32


def test_a_restarted_code_has_time_to_find_its_cluster() -> None:
    """Its count starts well above the threshold also where codes are used often."""
    q, latents = quantizer(), unit(256, 8, 1)
    average = CodebookAverage(q)
    unused = torch.zeros(256, dtype=torch.int64)
    average.update(q, latents, unused, decay=0.9, restart_below=2.0)
    assert average.update(q, latents, unused, decay=0.9, restart_below=2.0) == 0
