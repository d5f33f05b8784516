"""Packaged stand-ins for the metrics' networks: they run anywhere, in no time, and their numbers compare with nothing.

B pictures or texts, F numbers in a feature.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mentor.data.colours import COLOURS, lab
from mentor.data.pixels import to_pixels
from mentor.evaluation.networks import in_batches
from mentor.models.perceptual import STLPIPS

STAND_IN = "stand-in"
"""What stands for a source where the packaged replacement is wanted."""
SIDE = 64
"""Pictures are looked at in this size."""


class PooledTrunk:
    """In place of DINO and Inception: the ST-LPIPS trunk's five maps, unit vectors at every place, averaged: [B, 1152]."""

    name = "stand-in: pooled ST-LPIPS trunk (packaged)"
    fingerprint = "pooled-trunk-1"

    def __init__(self, device: str = "cpu") -> None:
        self._trunk, self._device = STLPIPS().to(device), device

    @torch.inference_mode()
    def images(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        return in_batches(self._pooled, pictures)

    def _pooled(self, part: Sequence[Image.Image]) -> Tensor:
        maps = self._trunk.features(to_pixels(np.stack([_small(each) for each in part])).to(self._device))
        return torch.cat([nn.functional.normalize(each, dim=1).mean(dim=(2, 3)) for each in maps], dim=1)


class ColourWords:
    """In place of CLIP: how much of a picture shows each of the package's twelve named colours, and which of them a text
    names: [B, 12]. A text without a colour word is alike to nothing (all zeros)."""

    name = "stand-in: colour words (packaged)"
    fingerprint = "colour-words-1"

    def images(self, pictures: Sequence[Image.Image]) -> NDArray[np.float32]:
        return np.stack([colour_shares(_small(each).reshape(-1, 3)) for each in pictures])

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        words = [re.findall("[a-z]+", text.lower().replace("grey", "gray")) for text in texts]
        return np.array([[each.count(colour) for colour in COLOURS] for each in words], dtype=np.float32)


def _small(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def colour_shares(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Share of the pixels [P, 3] (0..255) that is nearest to each named colour in CIE L*a*b*: [12]."""
    distances = np.linalg.norm(lab(pixels)[:, None] - lab(np.array(list(COLOURS.values()))), axis=-1)
    counts = np.bincount(distances.argmin(axis=1), minlength=len(COLOURS))
    return (counts / len(pixels)).astype(np.float32)
