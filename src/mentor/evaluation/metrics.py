"""The automatic metrics: cosine of features (CLIP-I, CLIP-T, DINO), pixel distances, perceptual distance, Frechet distance.

Every one is checked against an independent implementation in the tests, which write the tolerances down.

B pairs, R picture side in pixels, F numbers in a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mentor.data.pixels import picture_pixels
from mentor.evaluation.pixels import psnr, ssim
from mentor.files import whole
from mentor.models.perceptual import STLPIPS

Numbers = NDArray[np.float64]


def cosine(one: NDArray[np.floating], two: NDArray[np.floating]) -> Numbers:
    """Cosine of row i of ``one`` with row i of ``two``, both [B, F] -> [B] in [-1, 1]; 0 where a row is all zeros."""
    if one.shape != two.shape:
        raise ValueError(f"expected features of one shape, got {one.shape} and {two.shape}")
    left, right = one.astype(np.float64), two.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return (left * right).sum(axis=1) / np.where(lengths > 0, lengths, 1)


PIXEL_METRICS = {
    "l2": "MSE [-1,1]",
    "rmse": "RMSE [-1,1]",
    "mse_01": "MSE [0,1]",
    "rmse_01": "RMSE [0,1]",
    "psnr": "PSNR dB",
    "ssim": "SSIM",
}
"""Names of what ``pixel_distances`` measures, with headings. "L2" of the paper's reconstruction table is undefined there;
the mean squared error on [-1, 1] is the only candidate that its numbers fit, the others are given beside it."""


def pixel_distances(picture: Image.Image, target: Image.Image) -> dict[str, float]:
    """The candidate definitions of the paper's L2, PSNR (dB) and SSIM of two RGB pictures of one size, at least 11 pixels.

    Equal pictures have a PSNR of 120. ``rmse`` is the root of each picture's own error; averaged over pictures it is not
    the root of the average of ``l2``.
    """
    if picture.size != target.size:
        raise ValueError(f"expected pictures of one size, got {picture.size} and {target.size}")
    one, two = picture_pixels([picture]), picture_pixels([target])
    squared = float((one.double() - two.double()).square().mean())
    return {
        "l2": squared,
        "rmse": squared**0.5,
        "mse_01": squared / 4,
        "rmse_01": squared**0.5 / 2,
        "psnr": float(psnr(one, two)[0]),
        "ssim": float(ssim(one, two)[0]),
    }


class PerceptualDistances:
    """ST-LPIPS, which is packaged, and LPIPS (AlexNet) where the package ``lpips`` is installed; names in ``names``."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._networks: dict[str, torch.nn.Module] = {"st_lpips": STLPIPS().to(device)}
        if find_spec("lpips") is not None:
            import lpips

            self._networks["lpips"] = lpips.LPIPS(net="alex", verbose=False).to(device).eval()
        self.names = {"st_lpips": "ST-LPIPS", "lpips": "LPIPS (AlexNet)"}
        self.names = {name: heading for name, heading in self.names.items() if name in self._networks}

    @torch.inference_mode()
    def __call__(self, picture: Image.Image, target: Image.Image) -> dict[str, float]:
        """Distances of two RGB pictures of one size, at least 32 pixels; 0 for equal ones."""
        one, two = picture_pixels([picture]).to(self._device), picture_pixels([target]).to(self._device)
        return {name: float(network(one, two).mean()) for name, network in self._networks.items()}


@dataclass(frozen=True)
class Statistics:
    """Mean [F] and covariance [F, F] of a set of features: all that a Frechet distance needs of it."""

    mean: Numbers
    covariance: Numbers

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> Statistics:
        """Statistics of features [B, F] with B at least 2; the covariance is divided by B - 1."""
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"expected features [B, F] of at least 2 pictures, got {features.shape}")
        return cls(features.mean(axis=0, dtype=np.float64), np.cov(features.astype(np.float64), rowvar=False))

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Read the ``mu`` and ``sigma`` of an .npz file, as clean-fid and pytorch-fid write them."""
        try:
            with np.load(path, allow_pickle=False) as held:
                mean, covariance = held["mu"].astype(np.float64), held["sigma"].astype(np.float64)
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: expected an .npz file with the arrays mu and sigma ({error})") from error
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise ValueError(f"{path}: expected mu [F] and sigma [F, F], got {mean.shape} and {covariance.shape}")
        return cls(mean, covariance)

    def save(self, path: Path) -> None:
        """Write ``mu`` and ``sigma`` into an .npz file, whole or not at all."""
        with whole(path) as partial, partial.open("wb") as file:
            np.savez(file, mu=self.mean, sigma=self.covariance)


def frechet_distance(one: Statistics, two: Statistics) -> float:
    """Squared Frechet distance of two normal distributions (FID where the features are Inception's), 0 for equal ones.

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)); the last trace is the sum of the singular values of the product of
    the two symmetric roots, which stays real where a covariance is singular.
    """
    if one.mean.shape != two.mean.shape:
        raise ValueError(
            f"expected statistics of the same features, got {len(one.mean)} and {len(two.mean)} numbers: "
            "the reference was made with another network"
        )
    cross = np.linalg.svd(_root(one.covariance) @ _root(two.covariance), compute_uv=False).sum()
    distance = np.square(one.mean - two.mean).sum() + np.trace(one.covariance) + np.trace(two.covariance) - 2 * cross
    return float(max(distance, 0.0))


def _root(matrix: Numbers) -> Numbers:
    """The symmetric root of a positive semidefinite matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def mean_cosine(one: NDArray[np.floating], many: Sequence[NDArray[np.floating]]) -> float:
    """Mean cosine of one feature [F] with each of several."""
    return float(cosine(np.repeat(one[None], len(many), axis=0), np.stack(many)).mean())
