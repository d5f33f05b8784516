"""How well the image tokenizer gives held-out pictures back: PSNR, SSIM, ST-LPIPS and the codes it uses.

B batch, R picture side in pixels, V codebook size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mentor.data.corpus import Corpus
from mentor.data.pixels import picture_pixels
from mentor.data.reconstruction import held_out_pictures
from mentor.evaluation.pixels import psnr, ssim
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.perceptual import STLPIPS

_CHUNK = 32


@torch.inference_mode()
def evaluate_tokenizer(
    tokenizer: ImageTokenizer, corpus: Corpus, *, sizes: Sequence[int], count: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Scores on ``count`` held-out scenes, for each size: {"128": {"psnr": ..., "psnr_plain": ..., "ssim": ..., ...}}.

    PSNR (dB, pixels in [0, 1]) is the mean of the pictures' PSNRs; ``_plain`` and ``_photo`` split it by background and are
    missing when there is no such picture. ``codes_used`` is the share of the codebook that occurs, ``perplexity`` the
    exponential of the codes' entropy. Raises ValueError for a size that the tokenizer's grid does not divide.
    """
    perceptual = STLPIPS().to(_device(tokenizer))
    return {str(size): _scores(tokenizer, corpus, perceptual, size, count, seed) for size in sizes}


def _scores(
    tokenizer: ImageTokenizer, corpus: Corpus, perceptual: STLPIPS, size: int, count: int, seed: int
) -> dict[str, float]:
    pictures = held_out_pictures(corpus, count=count, seed=seed, size=size)
    wanted = picture_pixels([picture.image for picture in pictures])
    photo = np.array([picture.photo for picture in pictures])
    codes, decoded, distance = [], [], []
    for chunk in wanted.split(_CHUNK):
        pixels = chunk.to(_device(tokenizer))
        codes.append(tokenizer.encode(pixels))
        given = tokenizer.decode(codes[-1])
        decoded.append(given.cpu())
        distance.append(perceptual(given, pixels).cpu())
    given = torch.cat(decoded)
    quality = psnr(given, wanted)
    counts = torch.bincount(torch.cat(codes).flatten().cpu(), minlength=tokenizer.config.codebook_size).double()
    share = counts[counts > 0] / counts.sum()
    scores = {"psnr": float(quality.mean())}
    scores |= {
        f"psnr_{name}": float(quality[which].mean())
        for name, which in (("plain", ~photo), ("photo", photo))
        if which.any()
    }
    return scores | {
        "ssim": float(ssim(given, wanted).mean()),
        "st_lpips": float(torch.cat(distance).mean()),
        "codes_used": float((counts > 0).double().mean()),
        "perplexity": float((-(share * share.log()).sum()).exp()),
    }


def _device(tokenizer: ImageTokenizer) -> torch.device:
    return tokenizer.quantize.embedding.weight.device
