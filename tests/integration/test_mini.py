"""The model inside the package: small enough to ship, and every way to condition it changes its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mentor
from mentor import MentorPipeline, Prompt
from mentor.data.images import load_image

IMAGES = Path(__file__).parents[2] / "examples" / "images"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def mini() -> MentorPipeline:
    return MentorPipeline.from_pretrained("mini", device="cpu")


def distance(first: Image.Image, second: Image.Image) -> float:
    """Mean absolute difference of pixels, 0..255."""
    return float(np.abs(np.asarray(first, dtype=float) - np.asarray(second, dtype=float)).mean())


def test_the_package_stays_small() -> None:
    (package,) = mentor.__path__
    # What new training runs start from stays in the repository: the wheel leaves it out.
    shipped = [path for path in Path(package).rglob("*") if path.is_file() and "towers" not in path.parts]
    assert sum(path.stat().st_size for path in shipped) <= 64e6


def test_the_background_is_the_one_that_the_text_names(mini: MentorPipeline) -> None:
    """The border of the picture, where no object stands, has the named colour's strongest channel."""
    names = {"red": 0, "green": 1, "blue": 2}
    prompts = [f"a small cat in the center on a {name} background" for name in names]
    for image, (name, channel) in zip(mini(prompts, cfg_scale=2.0, temperature=0.8).images, names.items(), strict=True):
        pixels = np.asarray(image, dtype=float)
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean(axis=0)
        assert border.argmax() == channel, (name, border)


def test_the_reference_matters_and_a_seed_repeats(mini: MentorPipeline) -> None:
    text = "The {} in <image>.\na large {} in the center on a white background"
    cactus, cat = (Prompt(text.format(name, name), [load_image(IMAGES / f"{name}.png")]) for name in ("cactus", "cat"))
    swapped = Prompt(cactus.text, cat.images)
    made = {name: mini(prompt, seed=1).images[0] for name, prompt in [("right", cactus), ("swapped", swapped)]}
    assert distance(made["right"], mini(cactus, seed=1).images[0]) == 0
    assert distance(made["right"], made["swapped"]) > 5


def test_a_sample_of_a_batch_is_the_sample_alone(mini: MentorPipeline) -> None:
    prompts = ["a small red apple on the left on a green background", "a large car on a gray background"]
    together = mini(prompts, seed=3)
    alone = mini(prompts[1], seed=4)
    assert distance(together.images[1], alone.images[0]) == 0
