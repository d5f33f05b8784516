"""Emoji in several drawing styles: SVG icon sets rasterised with resvg, and the 3-D renders of Fluent Emoji."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.construction.corpora.emoji_subjects import EmojiSubject, emoji_subjects
from mentor.construction.corpora.images import cut_out, encode_webp
from mentor.construction.corpora.nouns import head_noun, split_of
from mentor.construction.corpora.pack import Entry
from mentor.construction.fetch import PACKAGES, obtain, open_archive, read_member

_RASTER_SIDE = 256


@dataclass(frozen=True)
class EmojiStyle:
    """One vendor's emoji: package, style word for prompts, licence, author; ``family`` joins redraws of one object."""

    source: str
    style: str
    licence: str
    author: str
    family: str = ""
    held_out: bool = False


STYLES = {
    style.source: style
    for style in (
        EmojiStyle("noto", "drawn", "Apache-2.0", "Google"),
        EmojiStyle("noto-v1", "classic", "Apache-2.0", "Google"),
        EmojiStyle("fluent-emoji", "glossy", "MIT", "Microsoft Corporation", family="fluent"),
        EmojiStyle("fluent-emoji-flat", "flat", "MIT", "Microsoft Corporation", family="fluent"),
        EmojiStyle("fluent-emoji-3d", "3d", "MIT", "Microsoft Corporation, LobeHub", family="fluent"),
        EmojiStyle("twemoji", "simple", "CC-BY-4.0", "Twitter and other contributors"),
        EmojiStyle("emojione", "cartoon", "CC-BY-4.0", "EmojiOne"),
        EmojiStyle("fxemoji", "muted", "Apache-2.0", "Mozilla", held_out=True),
        EmojiStyle("openmoji", "outlined", "CC-BY-SA-4.0", "OpenMoji"),
    )
}

# Where this set calls the whole animal "...side" and its face by the plain name.
_FXEMOJI_NAMES = {
    **{animal: f"{animal}side" for animal in ("cat", "dog", "mouse", "pig", "tiger")},
    **{f"{animal}-face": animal for animal in ("cat", "dog", "mouse", "pig", "tiger")},
    "rabbit-face": "bunny",
    "rabbit": "",
    "computer-mouse": "onebuttonmouse",
    "camel": "dromedarycamel",
    "sunglasses": "darksunglasses",
    # Pictures of something else under these names, and a black shape.
    **dict.fromkeys(("boar", "keyboard", "tornado", "tram-car", "water-pistol"), ""),
}


def icon_svg(icons: dict[str, Any], name: str) -> str:
    """SVG document of one icon in an Iconify collection."""
    icon = icons["icons"][name]
    defaults = {"left": 0, "top": 0, "width": 16, "height": 16}
    view = " ".join(str(icon.get(key, icons.get(key, default))) for key, default in defaults.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view}" '
        f'width="{_RASTER_SIDE}" height="{_RASTER_SIDE}">{icon["body"]}</svg>'
    )


def icon_name(subject: EmojiSubject, icons: dict[str, Any], codes: dict[str, str], source: str) -> str | None:
    """Name of a subject's icon in a collection, found by its name or code point; None if there is none."""
    if source == "fxemoji":
        if subject.slug in _FXEMOJI_NAMES:
            return _FXEMOJI_NAMES[subject.slug] or None
        candidates = [re.sub("[^a-z0-9]", "", alias) for alias in subject.aliases]
    else:
        code = subject.code
        candidates = [subject.slug, codes.get(code, ""), codes.get(code.removesuffix("-fe0f"), "")]
    for name in candidates:
        parent = icons.get("aliases", {}).get(name, {})
        if set(parent) <= {"parent"}:  # an alias with a flip or turn is another picture
            name = parent.get("parent", name)
        if name in icons["icons"]:
            return name
    return None


def rasterise(svg: str) -> Image.Image:
    """RGBA picture of an SVG document, 256 pixels wide."""
    import resvg_py

    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=_RASTER_SIDE))))


def emoji_entry(task: tuple[EmojiSubject, EmojiStyle, str | bytes]) -> list[Entry]:
    """Pack entry of one emoji (SVG text or image bytes), or nothing if the picture is no cut-out."""
    subject, style, drawing = task
    picture = rasterise(drawing) if isinstance(drawing, str) else Image.open(io.BytesIO(drawing))
    image = cut_out(picture)
    if image is None:
        return []
    noun = head_noun(subject.subject)
    key = f"{style.source}/{subject.slug}"
    meta = {
        "key": key,
        "subject": subject.subject,
        "noun": noun,
        "category": subject.category,
        "style": style.style,
        "source": style.source,
        "licence": style.licence,
        "author": style.author,
        "identity": f"{style.family}/{subject.slug}" if style.family else key,
        "concept": subject.slug,
        "view": 0,
        "split": "test" if style.held_out else split_of(noun),
    }
    return [Entry(meta, encode_webp(image))]


def _icon_tasks(subjects: list[EmojiSubject], style: EmojiStyle, path: Path) -> Iterator[tuple[Any, ...]]:
    with open_archive(path) as archive:
        icons = json.loads(read_member(archive, "package/icons.json"))
        codes = json.loads(read_member(archive, "package/chars.json"))
    for subject in subjects:
        name = icon_name(subject, icons, codes, style.source)
        if name is not None:
            yield subject, style, icon_svg(icons, name)


def _render_tasks(subjects: list[EmojiSubject], style: EmojiStyle, path: Path) -> Iterator[tuple[Any, ...]]:
    with open_archive(path) as archive:
        files = {Path(member.name).stem: member for member in archive.getmembers()}
        for subject in subjects:
            member = files.get(subject.code) or files.get(subject.code.removesuffix("-fe0f"))
            if member is not None:
                yield subject, style, read_member(archive, member.name)


def emoji_entries(source: str, cache: Path, run: Callable[..., Iterator[list[Entry]]]) -> Iterator[Entry]:
    """Entries of one emoji style in Unicode order; ``run(function, tasks)`` is an ordered map, maybe over processes."""
    with open_archive(obtain(PACKAGES["twemoji"], cache)) as archive:
        subjects = emoji_subjects(json.loads(read_member(archive, "package/chars.json")))
    tasks = _render_tasks if source == "fluent-emoji-3d" else _icon_tasks
    for entries in run(emoji_entry, tasks(subjects, STYLES[source], obtain(PACKAGES[source], cache))):
        yield from entries
