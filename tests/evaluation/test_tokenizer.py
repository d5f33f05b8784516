"""The tokenizer's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from mentor.config.model import ImageTokenizerConfig
from mentor.data.corpus import Corpus
from mentor.data.reconstruction import held_out_pictures
from mentor.evaluation.pixels import to_pixels
from mentor.evaluation.tokenizer import evaluate_tokenizer, psnr, ssim
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.perceptual import STLPIPS

SMALL = ImageTokenizerConfig(
    backbone="patchify", downsample=8, codebook_size=32, widths=(16, 32), encoder_blocks=(1, 1), decoder_blocks=(1, 1)
)


def noisy(count: int = 4, side: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    wanted = torch.rand(count, 3, side, side, generator=generator) * 2 - 1
    return (wanted + 0.1 * torch.randn(wanted.shape, generator=generator)).clamp(-1, 1), wanted


def test_psnr_is_that_of_scikit_image() -> None:
    given, wanted = noisy()
    expected = [
        peak_signal_noise_ratio(w.numpy(), g.numpy(), data_range=2.0) for g, w in zip(given, wanted, strict=True)
    ]
    np.testing.assert_allclose(psnr(given, wanted), expected, atol=1e-4)
    assert psnr(wanted, wanted).tolist() == pytest.approx([120.0] * 4)
    # An error of one grey level in [0, 255] everywhere is the well-known 48.13 dB.
    assert psnr(wanted + 2 / 255, wanted)[0] == pytest.approx(48.1308, abs=1e-3)


def test_ssim_limits_and_order() -> None:
    given, wanted = noisy()
    assert ssim(wanted, wanted) == pytest.approx(1.0)
    assert ssim(given, wanted) > ssim(-wanted, wanted)
    # Constant pictures a and b, in [0, 1], have only the luminance term: (2ab + c) / (a^2 + b^2 + c), c = 0.01^2.
    a, b = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    assert ssim(2 * a - 1, 2 * b - 1) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-4)


def test_scores_of_a_tokenizer_are_recomputed_by_hand(tiny_corpus: Corpus) -> None:
    torch.manual_seed(0)
    model = ImageTokenizer(SMALL).eval()
    scores = evaluate_tokenizer(model, tiny_corpus, sizes=(64, 32), count=40, seed=2)
    assert list(scores) == ["64", "32"]
    pictures = held_out_pictures(tiny_corpus, count=40, seed=2, size=64)
    wanted = to_pixels([picture.image for picture in pictures])
    codes = model.encode(wanted)
    given = model.decode(codes)
    quality = psnr(given, wanted)
    photo = np.array([picture.photo for picture in pictures])
    assert photo.any() and not photo.all()
    got = scores["64"]
    assert got["psnr"] == pytest.approx(quality.mean(), abs=1e-3)
    assert got["psnr_photo"] == pytest.approx(quality[photo].mean(), abs=1e-3)
    assert got["psnr_plain"] == pytest.approx(quality[~photo].mean(), abs=1e-3)
    assert got["codes_used"] == pytest.approx(len(codes.unique()) / 32)
    assert 1 <= got["perplexity"] <= len(codes.unique()) + 1e-6
    with torch.no_grad():
        assert got["st_lpips"] == pytest.approx(float(STLPIPS()(given, wanted).mean()), abs=1e-4)


def test_unfit_requests_are_refused(tiny_corpus: Corpus) -> None:
    model = ImageTokenizer(SMALL)
    with pytest.raises(ValueError, match="divisible by 8"):
        evaluate_tokenizer(model, tiny_corpus, sizes=(60,), count=2)
    with pytest.raises(ValueError, match="one shape"):
        psnr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 16))
