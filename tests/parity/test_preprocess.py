"""CLIP's preprocessing against the reference, with the centre cut out and after the training set's square resize."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from PIL import Image

from mentor.data.processor import Processor
from tests.generation.tiny_bundle import CONFIG, text_tokenizer

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def processor(side: int) -> Processor:
    vision = dataclasses.replace(CONFIG.vision, image_size=side, fit="crop", mean=CLIP_MEAN, std=CLIP_STD)
    return Processor(dataclasses.replace(CONFIG, vision=vision), text_tokenizer())


@pytest.mark.parametrize("number", range(4))
def test_pixels(golden, number):
    loaded = golden("preprocess")
    side = loaded.meta["cases"][number]["clip_size"]
    for given, expected in {"in.image": "clip_direct", "out.lanczos_square": "clip_after_lanczos_square"}.items():
        image = Image.fromarray(loaded.io[f"{number}.{given}"].numpy())
        torch.testing.assert_close(
            processor(side).pixels(image), loaded.io[f"{number}.out.{expected}"], rtol=0, **loaded.meta["tol"]
        )
