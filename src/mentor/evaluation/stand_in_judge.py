"""The judge of the built-in samples: no model at all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from mentor.data.colours import COLOURS
from mentor.data.pixels import picture_pixels
from mentor.evaluation.panel import BEST
from mentor.evaluation.stand_ins import colour_shares
from mentor.vlm.client import QuestionFailed, Reply, Turn, open_jpeg


class StandInJudge:
    """Lets the whole path run without any model; its scores mean nothing beside those of a real judge.

    Two pictures: ST-LPIPS distance at 64 pixels, 0 -> 4 and ``FAR`` -> 0. A text and a picture: share of the colours named in
    the text that cover a twentieth of the picture; 2 when the text names none.
    """

    name = "stand-in (ST-LPIPS and colour words), not comparable"
    threads = 1
    settings: Mapping[str, Any] = {"version": 1}

    FAR = 0.6
    """About the distance of pictures that have nothing in common."""

    def __init__(self) -> None:
        from mentor.models.perceptual import STLPIPS

        self._distance = STLPIPS()

    def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        """Answer in the words that a judge would use; ``seed`` changes nothing."""
        sample = dialogue[-1]
        pictures = [open_jpeg(image).resize((64, 64)) for image in sample.images]
        if len(pictures) == 2:
            return Reply(f"Score: {self._alike(*pictures)}", served=self.name)
        if len(pictures) == 1:
            return Reply(f"Score: {_named_colours(sample.text, pictures[0])}", served=self.name)
        raise QuestionFailed(f"expected one or two pictures in the last turn, got {len(pictures)}")

    @torch.inference_mode()
    def _alike(self, one: Image.Image, two: Image.Image) -> int:
        distance = float(self._distance(picture_pixels([one]), picture_pixels([two])))
        return math.floor(BEST * max(0.0, 1 - distance / self.FAR) + 0.5)


def _named_colours(text: str, picture: Image.Image) -> int:
    asked = [name for name in COLOURS if re.search(rf"\b{name}\b", text.lower())]
    if not asked:
        return BEST // 2
    shares = dict(zip(COLOURS, colour_shares(np.asarray(picture).reshape(-1, 3)), strict=True))
    seen = sum(shares[name] >= 0.05 for name in asked)
    return math.floor(BEST * seen / len(asked) + 0.5)
