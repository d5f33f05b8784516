"""The paper's prompt templates: how a task's instruction, its reference images and the caption become one text.

And back: what a text says about each of its images is what a Query-Former is told to look for.
"""

from __future__ import annotations

from collections.abc import Sequence

from mentor.prompt import IMAGE_PLACEHOLDER

WHOLE_IMAGE, ANY_IMAGE = "whole image", "image"
"""Queries of an image to reconstruct, and of one about which the text says nothing."""
_ARTICLES = ("the", "a", "an")


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


def image_queries(text: str) -> list[str]:
    """What to look for in each ``<image>`` of a text: the label in "The label in <image>", else one of two fixed queries.

    Only the words before the mark count, on its line and after the previous mark: when the last is "in", the label is what
    follows the first article. A prompt that is nothing but "The image is <image>" or "<image>" and a caption asks for the
    ``WHOLE_IMAGE``, any other image is an ``ANY_IMAGE``.
    """
    preceding = text.split(IMAGE_PLACEHOLDER)[:-1]
    if len(preceding) == 1 and preceding[0].strip().lower() in ("", "the image is"):
        return [WHOLE_IMAGE]
    return [_label(before.rpartition("\n")[2].split()) or ANY_IMAGE for before in preceding]


def _label(words: Sequence[str]) -> str:
    lowered = [word.lower() for word in words]
    if not lowered or lowered[-1] != "in":
        return ""
    first = next((place for place, word in enumerate(lowered) if word in _ARTICLES), len(words))
    return " ".join(words[first + 1 : -1])
