"""Generation on a GPU: the CPU's greedy tokens, samples that do not depend on their batch, the shipped mini's pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mentor.generation.pipeline import MentorPipeline
from mentor.prompt import Prompt
from tests.generation.tiny_bundle import tiny_bundle

PROMPTS = [Prompt("a red fox on the beach"), Prompt("a blue hat")]


def pixels(images: object) -> list[np.ndarray]:
    return [np.asarray(image, dtype=np.int16) for image in images]  # type: ignore[attr-defined]


def test_greedy_pictures_are_those_of_the_cpu(device: str) -> None:
    """At most one grey value apart: the same tokens, decoded in another order of sums."""
    settings = {"cfg_scale": 2.0, "temperature": 0.0}
    here, there = (MentorPipeline(tiny_bundle(), device=where)(PROMPTS, **settings) for where in ("cpu", device))
    for one, other in zip(pixels(here.images), pixels(there.images), strict=True):
        assert np.abs(one - other).max() <= 1


def test_a_picture_does_not_depend_on_its_batch(device: str) -> None:
    pipeline = MentorPipeline(tiny_bundle(), device=device)
    together = pipeline(PROMPTS[0], num_images=3, seed=5)
    alone = pipeline(PROMPTS[0], num_images=1, seed=6)
    again = pipeline(PROMPTS[0], num_images=3, seed=5)
    # The tokens are the same; a convolution may sum in another order for another batch.
    assert np.abs(pixels(together.images)[1] - pixels(alone.images)[0]).max() <= 1
    assert all(np.array_equal(a, b) for a, b in zip(pixels(together.images), pixels(again.images), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_mini_draws(device: str, dtype: str) -> None:
    pipeline = MentorPipeline.from_pretrained("mini", device=device, dtype=dtype)
    images = pipeline("a large red apple in the center on a blue background", num_images=5, seed=0).images
    picture = np.median(np.stack(pixels(images)), axis=0)
    side = pipeline.config.image_size
    assert picture.shape == (side, side, 3)
    edge, middle = side // 10, slice(side * 2 // 5, side * 3 // 5)
    corner, centre = picture[:edge, :edge].mean(axis=(0, 1)), picture[middle, middle].mean(axis=(0, 1))
    assert corner[2] > corner[0], "the background is blue"
    assert centre[0] > centre[2], "the apple is red"


def test_codes_and_pictures_of_the_mini_s_tokenizer_are_those_of_the_cpu(device: str) -> None:
    """A latent half way between two codes may fall to either side: 99.5 % of the codes agree."""
    here, there = (MentorPipeline.from_pretrained("mini", device=where).image_tokenizer for where in ("cpu", device))
    noise = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = torch.nn.functional.interpolate(noise, size=64, mode="bilinear")
    codes = here.encode(pictures)
    assert (there.encode(pictures.to(device)).cpu() == codes).float().mean() >= 0.995
    torch.testing.assert_close(there.decode(codes.to(device)).cpu(), here.decode(codes), atol=1e-3, rtol=1e-3)
