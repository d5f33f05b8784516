"""Subject phrases, their canonical head nouns, and the train/test split by noun."""

from __future__ import annotations

import hashlib
import re

# Two names of one thing must fall on one side of the split.
_SYNONYMS = {
    "automobile": "car",
    "bike": "bicycle",
    "couch": "sofa",
    "doughnut": "donut",
    "fridge": "refrigerator",
    "hamburger": "burger",
    "humburger": "burger",
    "motorbike": "motorcycle",
    "notepad": "notebook",
    "television": "tv",
    "washbasin": "basin",
}
_IRREGULAR = {
    "cookies": "cookie",
    "dice": "die",
    "geese": "goose",
    "knives": "knife",
    "leaves": "leaf",
    "mice": "mouse",
    "shelves": "shelf",
    "skis": "ski",
}
# A phrase after one of these words only qualifies the noun before it: "bowl with spoon" is a bowl.
_QUALIFIER = re.compile(r"\s+(?:with|without|of|in|on|and|at|behind|for|under|over)\s.*$")


def clean_subject(name: str) -> str:
    """Lower-case noun phrase of letters and single spaces from a catalogue name ("Chair 2 (red)" -> "chair")."""
    name = re.sub(r"\([^)]*\)", " ", name.lower().replace("'s", "s"))
    name = re.sub(r"[^a-z\s-]", " ", name)
    return " ".join(word.strip("-") for word in name.split() if word.strip("-"))


def singular(word: str) -> str:
    """Singular of an English noun by simple rules ("cherries" -> "cherry", "boxes" -> "box", "dress" -> "dress")."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def head_noun(subject: str) -> str:
    """Canonical head noun of a subject, the split key ("bowl with spoons" -> "bowl", "dog face" -> "dog")."""
    words = _QUALIFIER.sub("", subject).split()
    if len(words) > 1 and words[-1] in ("face", "head"):
        words.pop()
    noun = singular(words[-1])
    return _SYNONYMS.get(noun, noun)


def stable_hash(text: str) -> int:
    """32-bit hash of a text that is the same on every machine and Python version."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def split_of(name: str) -> str:
    """ "test" for about a tenth of all names, else "train"."""
    return "test" if stable_hash(name) % 10 == 7 else "train"
