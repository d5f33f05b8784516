"""The little English that captions need: articles and plurals of noun phrases."""

from __future__ import annotations

_IRREGULAR = {
    "child": "children",
    "deer": "deer",
    "fish": "fish",
    "foot": "feet",
    "goose": "geese",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "scarf": "scarves",
    "sheep": "sheep",
    "shelf": "shelves",
    "squid": "squid",
    "tooth": "teeth",
    "wolf": "wolves",
    "woman": "women",
}
_SINGULAR_S = ("ss", "us", "is", "os", "lens", "gas")


def without_size(phrase: str) -> str:
    """The phrase without a size word in front: what a picture calls "small car" may be drawn large."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first in ("small", "little", "tiny", "medium", "large", "big", "huge") else phrase


def is_plural(phrase: str) -> bool:
    """Whether the head already looks plural ("glasses", "french fries") or names two things ("fork and knife")."""
    head, _ = _split(phrase)
    last = head.split()[-1]
    return " and " in head or (last.endswith("s") and not last.endswith(_SINGULAR_S))


def plural(phrase: str) -> str:
    """Plural of a noun phrase: "red apple" -> "red apples", "bowl with salad" -> "bowls with salad"."""
    if is_plural(phrase):
        return phrase
    head, rest = _split(phrase)
    *before, last = head.split()
    return " ".join([*before, _plural_word(last)]) + rest


def with_article(phrase: str, plural_head: bool) -> str:
    """The phrase with "a" or "an" before it, or as it is when its head noun is plural."""
    if plural_head:
        return phrase
    return ("an " if phrase[:1] in "aeio" or phrase.startswith(("umbrella", "ukulele", "upper")) else "a ") + phrase


def _split(phrase: str) -> tuple[str, str]:
    for link in (" with ", " of ", " in ", " on ", " for "):
        head, found, rest = phrase.partition(link)
        if found and head:
            return head, found + rest
    return phrase, ""


def _plural_word(word: str) -> str:
    for end, many in _IRREGULAR.items():
        if word == end or (len(end) > 3 and word.endswith(end)):
            return word[: -len(end)] + many
    if word.endswith(("s", "x", "z", "ch", "sh")) or word in ("tomato", "potato", "volcano", "mango", "avocado"):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in ("a", "e", "o", "u"):
        return word[:-1] + "ies"
    return word + "s"
