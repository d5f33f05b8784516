"""The paper's prompt templates: how a task's instruction, its reference images and the caption become one text."""

from __future__ import annotations

from collections.abc import Sequence

from mentor.prompt import IMAGE_PLACEHOLDER


def text_to_image(caption: str) -> str:
    """The caption alone."""
    return caption


def reconstruct(caption: str = "") -> str:
    """The image is given, and its caption when it is not empty."""
    return f"The image is {IMAGE_PLACEHOLDER}\n{caption}" if caption else f"{IMAGE_PLACEHOLDER}\n"


def segment(subject: str) -> str:
    """One named object of the given image."""
    return f"The {subject} in {IMAGE_PLACEHOLDER}."


def subjects(names: Sequence[str], caption: str) -> str:
    """One line for each subject and its image, then the caption (subject-driven, recovery and multi-image tasks)."""
    return "\n".join([*(segment(name) for name in names), caption])
