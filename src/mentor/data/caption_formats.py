"""Records of a picture and words: LLaVA's pre-training data (stage 0) and plain pairs of picture and caption."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from mentor.config.sources import Fit, LlavaOptions, PairsOptions
from mentor.data import templates
from mentor.data.example import BadRecord, Example, ReadImage, checked_prompt
from mentor.data.squares import centre_square, reference_square
from mentor.prompt import IMAGE_PLACEHOLDER, Prompt


def picture_name(record: Any) -> str:
    """The name of the picture that a record shows; ``BadRecord`` if it has none."""
    if not isinstance(record, dict):
        raise BadRecord(f"expected an object with fields, got {type(record).__name__}")
    if not isinstance(record.get("image"), str):
        raise BadRecord("image: missing")
    return str(record["image"])


def llava_example(record: Any, read: ReadImage, seed: int, *, size: int, options: LlavaOptions) -> Example:
    """LLaVA-CC3M-595K's ``image`` and ``conversations``: the question with its image, the caption as the answer.

    Without ``options.answers`` it is the picture's reconstruction. ``BadRecord`` for a record that cannot be used.
    """
    name = picture_name(record)
    question, answer = _turns(record.get("conversations"))
    picture = read(name)
    if options.answers:
        return Example(
            _shown(question, picture, size, options.fit), centre_square(picture, size), "caption", answer=answer
        )
    wordless = np.random.default_rng(seed).random() < options.image_only
    text = templates.reconstruct("" if wordless else answer)
    return Example(_shown(text, picture, size, options.fit), centre_square(picture, size), "reconstruct")


def _turns(turns: Any) -> tuple[str, str]:
    """The first question, with one image, and its answer."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise BadRecord(f"conversations: expected a list of turns, got {type(turns).__name__}")
    speakers = [turn.get("from") for turn in turns[:2]]
    words = [turn.get("value") for turn in turns[:2]]
    if speakers != ["human", "gpt"] or not all(isinstance(value, str) for value in words):
        raise BadRecord("conversations: expected a human's question and an answer of gpt")
    question, answer = (str(value).strip() for value in words)
    if question.count(IMAGE_PLACEHOLDER) != 1 or not answer:
        raise BadRecord("conversations: expected one image in the question and words in the answer")
    return question, answer


def pair_example(record: Any, read: ReadImage, seed: int, *, size: int, options: PairsOptions) -> Example:
    """``image`` and ``text``: text to image, or the picture's reconstruction. ``BadRecord`` where one is missing."""
    name, text = picture_name(record), record.get("text")
    if not isinstance(text, str) or not text.strip():
        raise BadRecord("text: missing")
    picture, text = read(name), text.replace(IMAGE_PLACEHOLDER, "").strip()
    if options.task == "text_to_image":
        return Example(checked_prompt(templates.text_to_image(text)), centre_square(picture, size), options.task)
    words = "" if np.random.default_rng(seed).random() < options.image_only else text
    prompt = _shown(templates.reconstruct(words), picture, size, options.fit)
    return Example(prompt, centre_square(picture, size), options.task)


def _shown(text: str, picture: Image.Image, size: int, fit: Fit) -> Prompt:
    return checked_prompt(text, [reference_square(picture, size, fit)], [templates.WHOLE_IMAGE])
