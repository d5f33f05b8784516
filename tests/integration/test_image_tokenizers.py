"""The image tokenizers inside the package: their shapes, and that the mini's shows more than the small one."""

from __future__ import annotations

import pytest
import torch

from mentor.checkpoint.store import load_image_tokenizer
from mentor.config.presets import PRESETS
from mentor.data.corpus import Corpus
from mentor.training.tokenizer_data import held_out_scenes

pytestmark = pytest.mark.integration


@torch.no_grad()
def test_held_out_scenes_come_back_better_than_through_the_small_one() -> None:
    """32 scenes: 28.6 dB and 26.8; the numbers of 192 are in docs/mini.md."""
    pixels, _ = held_out_scenes(Corpus.load(), count=32, seed=0, size=128)
    decibels = {}
    for name, preset in (("mini", "mini-8192"), ("tokenizer-2048", "mini-128")):
        image_tokenizer = load_image_tokenizer(name)
        assert image_tokenizer.config == PRESETS[preset].image_tokenizer
        error = ((image_tokenizer.decode(image_tokenizer.encode(pixels)) - pixels) / 2).square().mean(dim=(1, 2, 3))
        decibels[name] = float((-10 * error.log10()).mean())
    assert decibels["mini"] > max(28.3, decibels["tokenizer-2048"] + 1.5)
