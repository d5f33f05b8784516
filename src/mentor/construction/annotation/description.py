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
BACKGROUND = "background backdrop sky ground floor wall ceiling grass lawn sea ocean snow horizon landscape scene"
"""What has no outline of its own."""
_REFUSALS = re.compile(
    r"(\bsorry\b|\b(cannot|can't|unable to|not able to) (see|view|describe|help|assist|provide|identify)|\bas an ai\b)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^\W*(sure|certainly|of course|okay|here is|here's|caption|description)\b[^:]{0,60}:\s*", re.IGNORECASE
)


def objects_request(most: int) -> str:
    """The words that ask for at most ``most`` objects, after the description."""
    return (
        f"Which things in the picture can be cut out along their outline? Answer with a JSON list of at most {most} short "
        'names, the most prominent first, such as ["dog", "red ball"]. Only concrete, separate things, in the words of '
        "your description, each once. No parts of other things, nothing like sky, grass or wall. [] if there are none."
    )


def parse_caption(text: str) -> str:
    """The caption on one line, without a label or quotation marks; ``ValueError`` for a refusal or none."""
    plain = text.replace("*", "").replace("\u2019", "'").strip()
    caption = " ".join(_LABEL.sub("", plain).split()).strip("\"' ")
    if _REFUSALS.search(caption[:120]):
        raise ValueError(f"the model refuses: {caption[:80]!r}")
    if "<" in caption:
        raise ValueError(f"expected plain words, got {caption[:80]!r}")
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
        head = re.split(r" (?:of|on|in|with|at) ", name.lower())[0].split()[-1:]
        if (
            not 1 <= len(words) <= LONGEST_NAME
            or head[0] in BACKGROUND.split()
            or "<" in name
            or not name.isprintable()
        ):
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
