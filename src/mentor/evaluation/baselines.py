"""Answers that a model has to beat, and one that it cannot: what the numbers of a table are read against."""

from __future__ import annotations

from PIL import Image

from mentor.data.tasks import Sample
from mentor.prompt import Prompt


def copy_reference(sample: Sample, size: int) -> Image.Image:
    """The (first) reference picture itself, resized to ``size`` pixels: all of the subject, nothing of the prompt."""
    return sample.prompt.images[0].convert("RGB").resize((size, size), Image.Resampling.LANCZOS)


def without_reference(sample: Sample) -> Prompt:
    """The prompt's caption alone, for the *ignore the reference* baseline: the words still name the subject."""
    return Prompt(sample.prompt.text.splitlines()[-1])
