"""Answers that a model has to beat, and one that it cannot: what the numbers of a table are read against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from mentor.evaluation.pictures import Painter
from mentor.prompt import IMAGE_PLACEHOLDER, Prompt


def caption_of(prompt: Prompt) -> str:
    """The lines of a prompt without those that introduce reference images; may be empty."""
    return "\n".join(line for line in prompt.text.splitlines() if IMAGE_PLACEHOLDER not in line).strip()


@dataclass(frozen=True)
class CopyReference:
    """The painter that returns the (first) reference picture, untouched; refuses a prompt without one."""

    name: str = "copy the reference"
    size: int = 0
    fingerprint: str = "copy_reference"

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image.Image]:
        """The references; ``ValueError`` for a prompt without one."""
        for prompt in prompts:
            if not prompt.images:
                raise ValueError("copy_reference: the prompt has no reference picture")
        return [prompt.images[0].convert("RGB") for prompt in prompts]


class IgnoreReference:
    """A painter that shows another one the captions alone; the words still name the subject."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter
        self.name = f"ignore the reference ({painter.name})"
        self.size, self.fingerprint = painter.size, f"ignore_reference {painter.fingerprint}"

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image.Image]:
        """The other painter's pictures; ``ValueError`` for a prompt without a caption."""
        captions = [caption_of(prompt) for prompt in prompts]
        if not all(captions):
            raise ValueError("ignore_reference: the prompt has no words beside its reference picture")
        return self.painter([Prompt(caption) for caption in captions], seeds)
