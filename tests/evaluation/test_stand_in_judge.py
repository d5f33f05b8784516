"""The judge of the built-in samples."""

from __future__ import annotations

import torch
from PIL import Image

from mentor.evaluation.panel import encode_image
from mentor.evaluation.stand_in_judge import StandInJudge
from mentor.vlm.client import Turn

RED = encode_image(Image.new("RGB", (50, 50), "red"))


def test_the_stand_in_knows_equal_pictures_and_colour_words() -> None:
    judge = StandInJudge()
    assert judge.name.startswith("stand-in") and "not comparable" in judge.name
    noise = torch.randint(0, 255, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    other = encode_image(Image.fromarray(noise.numpy()))
    assert judge.ask((Turn("user", "", (RED, RED)),), 0).text == "Score: 4"
    assert judge.ask((Turn("user", "", (RED, other)),), 0).text == "Score: 0"
    for text, score in (("a fox on a red background", 4), ("a blue fox on red", 2), ("green", 0), ("a credit", 2)):
        assert judge.ask((Turn("user", text, (RED,)),), 0).text == f"Score: {score}"
