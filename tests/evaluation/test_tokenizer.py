"""The tokenizer's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mentor.config.model import ImageTokenizerConfig
from mentor.data.corpus import Corpus
from mentor.data.pixels import picture_pixels
from mentor.data.reconstruction import held_out_pictures
from mentor.evaluation.pixels import psnr
from mentor.evaluation.tokenizer import evaluate_tokenizer
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.perceptual import STLPIPS

SMALL = ImageTokenizerConfig(
    backbone="patchify", downsample=8, codebook_size=32, widths=(16, 32), encoder_blocks=(1, 1), decoder_blocks=(1, 1)
)


def test_scores_of_a_tokenizer_are_recomputed_by_hand(tiny_corpus: Corpus) -> None:
    torch.manual_seed(0)
    model = ImageTokenizer(SMALL).eval()
    scores = evaluate_tokenizer(model, tiny_corpus, sizes=(64, 32), count=40, seed=2)
    assert list(scores) == ["64", "32"]
    pictures = held_out_pictures(tiny_corpus, count=40, seed=2, size=64)
    wanted = picture_pixels([picture.image for picture in pictures])
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
