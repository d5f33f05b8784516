from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import linalg, ndimage
from skimage import metrics as skimage_metrics
from torch import Tensor, nn

from mentor.evaluation.metrics import (
    PerceptualDistances,
    Statistics,
    cosine,
    frechet_distance,
    mean_cosine,
    pixel_distances,
)
from mentor.models.perceptual import STLPIPS


def picture(seed: int, side: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_cosine_is_that_of_torch() -> None:
    """Tolerance 1e-6."""
    one, two = np.random.default_rng(0).normal(size=(2, 9, 5)).astype(np.float32)
    expected = torch.nn.functional.cosine_similarity(torch.from_numpy(one), torch.from_numpy(two)).numpy()
    np.testing.assert_allclose(cosine(one, two), expected, atol=1e-6)
    assert mean_cosine(one[0], list(two)) == pytest.approx(float(cosine(np.tile(one[0], (9, 1)), two).mean()))
    assert cosine(np.zeros((1, 3)), np.ones((1, 3)))[0] == 0
    with pytest.raises(ValueError, match="one shape"):
        cosine(one, two[:3])


def test_pixel_distances_are_those_of_scikit_image() -> None:
    """Tolerance 1e-6 relative; scikit-image works on 0..1 in double precision, SSIM with Wang's Gaussian window."""
    one, two = picture(0), picture(1)
    left, right = (np.asarray(each, dtype=np.float64) / 255 for each in (one, two))
    found = pixel_distances(one, two)
    mse = skimage_metrics.mean_squared_error(left, right)
    assert found["mse_01"] == pytest.approx(mse, rel=1e-6)
    assert found["l2"] == pytest.approx(4 * mse, rel=1e-6)
    assert found["rmse"] == pytest.approx(2 * mse**0.5, rel=1e-6)
    assert found["rmse_01"] == pytest.approx(mse**0.5, rel=1e-6)
    assert found["psnr"] == pytest.approx(skimage_metrics.peak_signal_noise_ratio(left, right, data_range=1), rel=1e-6)
    ssim = skimage_metrics.structural_similarity(
        left, right, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert found["ssim"] == pytest.approx(ssim, abs=1e-5)


def test_ssim_is_that_of_the_published_formula() -> None:
    """Tolerance 1e-6: Wang et al. 2004, equation 13, with an 11 x 11 Gaussian window of sigma 1.5, borders left out."""
    one, two = picture(2), Image.blend(picture(2), picture(3), 0.3)
    x, y = (np.asarray(each, dtype=np.float64) for each in (one, two))

    def blur(values: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(values, (1.5, 1.5, 0), truncate=5 / 1.5)[5:-5, 5:-5]

    means = blur(x), blur(y)
    spreads = blur(x * x) - means[0] ** 2, blur(y * y) - means[1] ** 2
    shared = blur(x * y) - means[0] * means[1]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    table = (2 * means[0] * means[1] + c1) * (2 * shared + c2)
    table /= (means[0] ** 2 + means[1] ** 2 + c1) * (spreads[0] + spreads[1] + c2)
    assert pixel_distances(one, two)["ssim"] == pytest.approx(table.mean(), abs=1e-6)


def test_pixel_distances_of_known_pictures() -> None:
    black, white = Image.new("RGB", (32, 32)), Image.new("RGB", (32, 32), "white")
    found = pixel_distances(black, white)
    assert (found["l2"], found["rmse"], found["mse_01"], found["rmse_01"], found["psnr"]) == (4, 2, 1, 1, 0)
    same = pixel_distances(white, white)
    assert (same["l2"], same["ssim"], same["psnr"]) == (0, 1, 120)
    with pytest.raises(ValueError, match="one size"):
        pixel_distances(black, Image.new("RGB", (16, 16)))


def test_st_lpips_is_the_packaged_network_and_lpips_only_where_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = picture(0), picture(1)
    plain = PerceptualDistances()
    assert plain.names == {"st_lpips": "ST-LPIPS"}
    pixels = [torch.from_numpy(np.array(each)).permute(2, 0, 1)[None] / 127.5 - 1 for each in (one, two)]
    assert plain(one, two)["st_lpips"] == pytest.approx(float(STLPIPS()(*pixels)), rel=1e-5)

    class Fake(nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert net == "alex"

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return (left - right).abs().mean(dim=(1, 2, 3), keepdim=True)

    module = types.ModuleType("lpips")
    module.LPIPS = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)
    monkeypatch.setattr("mentor.evaluation.metrics.find_spec", lambda name: name == "lpips")
    both = PerceptualDistances()
    assert both.names["lpips"] == "LPIPS (AlexNet)"
    assert both(one, two)["lpips"] == pytest.approx(float((pixels[0] - pixels[1]).abs().mean()), rel=1e-5)


def sample(seed: int, count: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


def by_matrix_root(one: np.ndarray, two: np.ndarray) -> float:
    """The published formula with scipy's general matrix root, as clean-fid and pytorch-fid compute it."""
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    root = linalg.sqrtm(first @ second).real
    return float(np.square(one.mean(0) - two.mean(0)).sum() + np.trace(first + second - 2 * root))


@pytest.mark.parametrize("width", [2, 16, 64])
def test_frechet_distance_is_that_of_the_matrix_root(width: int) -> None:
    """Tolerance 1e-6 relative."""
    one, two = sample(1, 200, width), sample(2, 150, width)
    found = frechet_distance(Statistics.of(one), Statistics.of(two))
    assert found == pytest.approx(by_matrix_root(one, two), rel=1e-6)


def test_frechet_distance_of_known_distributions() -> None:
    """Two normal distributions of one dimension: (m1 - m2)^2 + (s1 - s2)^2; singular covariances; equal sets give 0."""
    one, two = Statistics(np.zeros(2), np.diag([4.0, 9.0])), Statistics(np.array([3.0, 0.0]), np.diag([1.0, 0.0]))
    assert frechet_distance(one, two) == pytest.approx(9 + 1 + 9)
    few = Statistics.of(sample(3, 5, 32))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6 * np.trace(few.covariance))
    with pytest.raises(ValueError, match="another network"):
        frechet_distance(one, few)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(2, 12))
def test_frechet_distance_is_symmetric_and_not_negative(seed: int, count: int, width: int) -> None:
    one, two = Statistics.of(sample(seed, count, width)), Statistics.of(sample(seed + 1, count + 3, width))
    forth, back = frechet_distance(one, two), frechet_distance(two, one)
    assert forth >= 0 and forth == pytest.approx(back, rel=1e-6, abs=1e-6)


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    """Tolerance 1e-4 relative: torchmetrics sums the features in double precision over batches."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Pool(nn.Module):
        num_features = 3

        def forward(self, pixels: Tensor) -> Tensor:
            return pixels.float().mean(dim=(2, 3))

    metric = FrechetInceptionDistance(feature=Pool(), normalize=False)
    sets = [
        torch.stack([torch.from_numpy(np.array(picture(seed, 16))) for seed in seeds])
        for seeds in (range(20), range(50, 75))
    ]
    for pixels, real in zip(sets, (True, False), strict=True):
        metric.update(pixels.permute(0, 3, 1, 2), real=real)
    ours = [Statistics.of(Pool()(pixels.permute(0, 3, 1, 2)).numpy()) for pixels in sets]
    assert frechet_distance(*ours) == pytest.approx(float(metric.compute()), rel=1e-4)


def test_statistics_files_are_those_of_other_tools(tmp_path: Path) -> None:
    held = Statistics.of(sample(0, 10, 4))
    np.savez_compressed(tmp_path / "other.npz", mu=held.mean, sigma=held.covariance)
    read = Statistics.load(tmp_path / "other.npz")
    np.testing.assert_array_equal(read.covariance, held.covariance)
    held.save(tmp_path / "ours.npz")
    np.testing.assert_array_equal(Statistics.load(tmp_path / "ours.npz").mean, held.mean)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.npz", "ours.npz"]


def test_bad_statistics_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.zeros(3))
    np.savez(tmp_path / "b.npz", mu=np.zeros(3), sigma=np.zeros((2, 2)))
    (tmp_path / "c.npz").write_bytes(b"junk")
    for name in ("a.npz", "c.npz", "missing.npz"):
        with pytest.raises(ValueError, match="arrays mu and sigma"):
            Statistics.load(tmp_path / name)
    with pytest.raises(ValueError, match=r"mu \[F\] and sigma"):
        Statistics.load(tmp_path / "b.npz")
    with pytest.raises(ValueError, match="at least 2 pictures"):
        Statistics.of(np.zeros((1, 4)))
