"""What a picture shows (appendix D, captioning and object extraction): the two questions, and what their answers say."""

from __future__ import annotations

import json
import re

CAPTION_REQUEST = (
    "Describe this picture in one to three sentences. Name every prominent element with its colour, material and place. "
    'Begin with what is shown, not with words such as "the image".'
)
LONGEST_CAPTION = 1000
LONGEST_NAME = 6
"""Words."""
BACKGROUND = (
    "background backdrop sky ground floor wall ceiling grass lawn water sea ocean sand snow road street field forest "
    "landscape scene air light shadow reflection horizon"
)
"""What has no outline of its own."""
_REFUSALS = re.compile(r"^\W*(i'?m sorry|sorry|i cannot|i can'?t|i am unable|i'?m unable|as an ai)\b", re.IGNORECASE)
_LABEL = re.compile(r"^\W*(caption|description)\W*:\s*", re.IGNORECASE)


def objects_request(most: int) -> str:
    """The words that ask for at most ``most`` objects, after the description."""
    return (
        f"Which things in the picture can be cut out along their outline? Answer with a JSON list of at most {most} short "
        'names, the most prominent first, such as ["dog", "red ball"]. Only concrete, separate things, in the words of '
        "your description, each once. No parts of other things, nothing like sky, grass or wall. [] if there are none."
    )


def parse_caption(text: str) -> str:
    """The caption on one line, without a label or quotation marks; ``ValueError`` for a refusal or none."""
    caption = " ".join(_LABEL.sub("", text.replace("*", "")).split()).strip("\"' ")
    if _REFUSALS.match(caption):
        raise ValueError(f"the model refuses: {caption[:80]!r}")
    if len(caption.split()) < 3:
        raise ValueError(f"expected a sentence, got {caption!r}")
    if len(caption) > LONGEST_CAPTION:
        raise ValueError(f"the caption has {len(caption)} characters, at most {LONGEST_CAPTION} are taken")
    return caption


def parse_objects(text: str, most: int) -> list[str]:
    """The names of the JSON list in an answer, each once, no backgrounds, at most ``most``; ``ValueError`` without a list."""
    names: list[str] = []
    for raw in _first_list(text):
        name = " ".join(raw.split()).strip("\"'. ")
        words = name.lower().split()
        if not 1 <= len(words) <= LONGEST_NAME or words[-1] in BACKGROUND.split() or "<" in name:
            continue
        if name.lower() not in map(str.lower, names):
            names.append(name)
    return names[:most]


def _first_list(text: str) -> list[str]:
    for found in re.finditer(r"\[", text):
        try:
            value, _ = json.JSONDecoder().raw_decode(text, found.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    raise ValueError("the answer has no JSON list of names")
