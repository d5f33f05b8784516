"""What the vision tower and the image tokenizer are shown of a picture, against the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor

from mentor.config.presets import PRESETS
from mentor.data.pixels import picture_pixels
from mentor.data.processor import Processor
from mentor.data.squares import centre_square, squash
from tests.parity.fixtures import Checks, Golden

checks = Checks("preprocess", given=(r"\d+\.in\.image",))


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


def test_every_case_is_there(golden):
    sizes = {
        int(number): tuple(golden.io[f"{number}.in.image"].shape) for (number,) in golden.numbered(r"(\d+)\.in\.image")
    }
    assert sizes == {number: (case["h"], case["w"], 3) for number, case in enumerate(golden.meta["cases"])}


def picture(golden: Golden, number: str) -> Image.Image:
    return Image.fromarray(golden.io[f"{number}.in.image"].numpy())


def clip_pixels(golden: Golden, number: str, image: Image.Image) -> Tensor:
    released = PRESETS["xl"]
    vision = replace(released.vision, image_size=golden.meta["cases"][int(number)]["clip_size"])
    config = replace(released, vision=vision, language=replace(released.language, image_token_id=0))
    return Processor(config, Tokenizer(WordLevel({"<image>": 0}, unk_token="<image>"))).pixels(image)


@checks.entry(r"(\d+)\.out\.clip_direct")
def direct(golden: Golden, number: str) -> Tensor:
    return clip_pixels(golden, number, picture(golden, number))


@checks.entry(r"(\d+)\.out\.lanczos_square")
def squashed(golden: Golden, number: str) -> Tensor:
    side = golden.meta["cases"][int(number)]["lanczos_square"]
    return torch.from_numpy(np.array(squash(picture(golden, number), side)))


@checks.entry(r"(\d+)\.out\.clip_after_lanczos_square")
def after_squashing(golden: Golden, number: str) -> Tensor:
    return clip_pixels(golden, number, Image.fromarray(squashed(golden, number).numpy()))


@checks.entry(r"(\d+)\.out\.center_crop_uint8")
def cropped(golden: Golden, number: str) -> Tensor:
    side = golden.meta["cases"][int(number)]["vq_size"]
    return torch.from_numpy(np.array(centre_square(picture(golden, number), side)))


@checks.entry(r"(\d+)\.out\.vq_input")
def tokenizer_input(golden: Golden, number: str) -> Tensor:
    return picture_pixels([Image.fromarray(cropped(golden, number).numpy())])[0]
