"""A user's words and pictures -> a prompt in the form the model was trained with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data import templates
from mentor.data.images import load_image, to_rgb
from mentor.prompt import IMAGE_PLACEHOLDER, Prompt

Picture: TypeAlias = Image.Image | NDArray[np.uint8] | str | os.PathLike[str]

TASKS = ("text_to_image", "reconstruct", "segment", "subject")


def build_prompt(
    text: str = "",
    images: Sequence[Picture] | Picture | None = None,
    *,
    task: str | None = None,
    subject: str | Sequence[str] | None = None,
) -> Prompt:
    """A prompt from a user's words: with ``<image>`` in the text it is taken as it stands, else put into a template.

    Args:
        text: what the new picture shows; for the task ``segment`` the object may stand here instead of in ``subject``.
        images: reference images, as Pillow images, files, or arrays uint8 [height, width, 3].
        task: one of ``TASKS``; None: ``subject`` when one is named, ``reconstruct`` for a nameless image, else
            ``text_to_image``.
        subject: what the image shows that matters ("fox"); with several images one for each.

    Raises:
        ValueError: an unreadable image, an unknown task, or parts that do not fit together.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected the text as str, got {type(text).__name__}")
    several = isinstance(images, Sequence) and not isinstance(images, str | bytes)
    given: Sequence[Any] = images if several else [] if images is None else [images]  # type: ignore[assignment]
    pictures = [_picture(each) for each in given]
    names = _names(subject)
    _check_task(task, len(pictures))
    if IMAGE_PLACEHOLDER in text:
        if names:
            raise ValueError(f"the text marks {IMAGE_PLACEHOLDER} itself: leave out either the marks or the subject")
        return Prompt(text, pictures)
    if task is None:
        task = "subject" if names else "reconstruct" if pictures else "text_to_image"
    if task == "segment" and not names and text:
        names, text = [text], ""
    _check(task, text, names, len(pictures))
    words = {
        "text_to_image": lambda: templates.text_to_image(text),
        "reconstruct": lambda: templates.reconstruct(text),
        "segment": lambda: templates.segment(names[0]),
        "subject": lambda: templates.subjects(names, text),
    }
    return Prompt(words[task](), pictures)


def _picture(given: Any) -> Image.Image:
    if isinstance(given, Image.Image):
        return to_rgb(given)
    if isinstance(given, str | os.PathLike):
        return load_image(given)
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 3 and given.shape[2] in (3, 4):
        return to_rgb(Image.fromarray(given))
    what = f"{given.dtype} {list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__
    raise ValueError(f"images: expected Pillow images, files, or arrays uint8 [height, width, 3], got {what}")


def _names(subject: Any) -> list[str]:
    names = [subject] if isinstance(subject, str) else [] if subject is None else subject
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"subject: expected a name, or a name for each image, got {subject!r}")
    return list(names)


def _check_task(task: str | None, images: int) -> None:
    if task is not None and task not in TASKS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    if task == "text_to_image" and images:
        raise ValueError(f"the task text_to_image takes no image, got {images}: leave out the task or the images")


def _check(task: str, text: str, names: Sequence[str], images: int) -> None:
    if task in ("reconstruct", "segment") and images != 1:
        raise ValueError(
            f"the task {task} takes exactly one image, got {images}: give a subject for each image, "
            f"or mark each with {IMAGE_PLACEHOLDER} in the text"
        )
    if task == "segment" and text:
        raise ValueError(f"the task segment takes only the name of an object; leave out the text {text!r}")
    if task in ("segment", "subject"):
        if not images or len(names) != images:
            raise ValueError(f"expected one subject for each image, got {len(names)} subject(s) for {images} image(s)")
        if any(not name.strip() or IMAGE_PLACEHOLDER in name for name in names):
            raise ValueError(f"expected the name of what an image shows as its subject, for example fox; got {names}")
    elif names:
        raise ValueError(f"the task {task} names no subject: leave out {', '.join(map(repr, names))}")
