"""ST-LPIPS against numbers of the authors' implementation (stlpips_pytorch 0.0.2, float32 weights; ours are float16)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mentor.models.perceptual import STLPIPS


@pytest.fixture(scope="module")
def distance() -> STLPIPS:
    return STLPIPS()


def pixels(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None].float() / 127.5 - 1


def box_blur(x: Tensor, radius: int) -> Tensor:
    return F.avg_pool2d(F.pad(x, (radius,) * 4, mode="reflect"), 2 * radius + 1, stride=1)


@pytest.fixture(scope="module")
def photos() -> tuple[Tensor, Tensor]:
    data = pytest.importorskip("skimage.data")
    return pixels(data.coffee()[:256, 100:356]), pixels(data.astronaut()[:256, :256])


def test_known_distances_of_photos(distance: STLPIPS, photos: tuple[Tensor, Tensor]) -> None:
    coffee, astronaut = photos
    pairs = {
        "blurred a little": (coffee, box_blur(coffee, 1), 0.08855),
        "blurred a lot": (coffee, box_blur(coffee, 4), 0.46285),
        "moved by one pixel": (coffee[..., 1:, 1:], coffee[..., :-1, :-1], 0.00563),
        "another picture": (coffee, astronaut, 0.72478),
        "odd sides": (coffee[..., :61, :75], astronaut[..., :61, :75], 0.79274),
        "smallest": (coffee[..., :32, :32], box_blur(coffee, 2)[..., :32, :32], 0.14608),
    }
    got = {name: float(distance(one, two)) for name, (one, two, _) in pairs.items()}
    assert got == pytest.approx({name: expected for name, (_, _, expected) in pairs.items()}, rel=2e-3)


def test_known_distance_without_any_data_set(distance: STLPIPS) -> None:
    ramp = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    assert float(distance(ramp, ramp.roll(5, -1).flip(1))) == pytest.approx(0.98665, rel=1e-3)


def test_it_is_a_distance(distance: STLPIPS) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (F.interpolate(torch.rand(3, 3, 8, 8, generator=generator) * 2 - 1, size=40) for _ in range(2))
    assert torch.equal(distance(a, a), torch.zeros(3))
    torch.testing.assert_close(distance(a, b), distance(b, a))
    assert bool((distance(a, b) > 0.05).all())
    torch.testing.assert_close(distance(a, b)[1], distance(a[1:2], b[1:2])[0], atol=1e-4, rtol=1e-3)


def test_gradient_brings_a_picture_closer_and_weights_stay(distance: STLPIPS) -> None:
    generator = torch.Generator().manual_seed(1)
    wanted = F.interpolate(torch.rand(1, 3, 8, 8, generator=generator) * 2 - 1, size=40)
    given = box_blur(wanted, 2)
    first = float(distance(given, wanted))
    for _ in range(10):
        given.requires_grad_()
        (gradient,) = torch.autograd.grad(distance(given, wanted).sum(), given)
        given = (given - 0.02 * gradient / gradient.abs().max()).detach()
    assert float(distance(given, wanted)) < 0.95 * first
    assert all(parameter.grad is None for parameter in distance.parameters())


def test_gradient_of_flat_pictures_is_finite(distance: STLPIPS) -> None:
    flat = torch.zeros(1, 3, 32, 32, requires_grad=True)
    distance(flat, torch.full((1, 3, 32, 32), 0.5)).sum().backward()
    assert flat.grad is not None and bool(flat.grad.isfinite().all())


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_unfit_pictures_are_refused(distance: STLPIPS, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 32"):
        distance.features(torch.zeros(shape))


def test_unequal_shapes_are_refused(distance: STLPIPS) -> None:
    with pytest.raises(ValueError, match="one shape"):
        distance(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 40))
