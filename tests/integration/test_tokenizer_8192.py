"""The wide mini's image tokenizer, which a clone has: its shape, and that it shows more than the mini's."""

from __future__ import annotations

import pytest
import torch

from mentor.checkpoint.store import load_image_tokenizer
from mentor.config.presets import PRESETS
from mentor.data.corpus import Corpus
from mentor.training.tokenizer_data import held_out_scenes

pytestmark = pytest.mark.integration


@torch.no_grad()
def test_held_out_scenes_come_back_better_than_through_the_mini_s() -> None:
    """32 scenes: 28.6 dB and 26.8; the numbers of 192 are in docs/mini.md."""
    pixels, _ = held_out_scenes(Corpus.load(), count=32, seed=0, size=128)
    decibels = {}
    for name, preset in (("tokenizer-8192", "mini-wide"), ("mini", "mini-128")):
        image_tokenizer = load_image_tokenizer(name)
        assert image_tokenizer.config == PRESETS[preset].image_tokenizer
        error = ((image_tokenizer.decode(image_tokenizer.encode(pixels)) - pixels) / 2).square().mean(dim=(1, 2, 3))
        decibels[name] = float((-10 * error.log10()).mean())
    assert decibels["tokenizer-8192"] > max(28.3, decibels["mini"] + 1.5)
