"""Photographs from Debian's wallpaper packages as backgrounds, chosen file by file by their licence."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.construction.corpora.images import background, encode_webp
from mentor.construction.corpora.nouns import stable_hash
from mentor.construction.corpora.pack import Entry
from mentor.construction.fetch import PACKAGES, obtain, open_archive, read_member


def parse_copyright(text: str) -> dict[str, tuple[str, str]]:
    """File name -> (author, licence) from a machine-readable Debian copyright file; patterns are left out."""
    found = {}
    for paragraph in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        for match in re.finditer(r"^([A-Za-z-]+):((?:.*\n?)(?:[ \t].*\n?)*)", paragraph + "\n", re.MULTILINE):
            fields[match[1]] = " ".join(match[2].split())
        if {"Files", "Copyright", "License"} <= fields.keys():
            # Years and quotation marks around the holder's name do not belong to it.
            author = re.sub(r"^[\d\s,.-]+|[\s,]+\d{4}$|\"", "", fields["Copyright"]).strip(" ,.")
            for name in fields["Files"].split():
                if "*" not in name:
                    found[Path(name).name] = (author, fields["License"].split()[0])
    return found


def background_entry(task: tuple[dict[str, Any], bytes]) -> list[Entry]:
    """Pack entry of one photograph."""
    meta, data = task
    return [Entry(meta, encode_webp(background(Image.open(io.BytesIO(data)))))]


def wallpaper_entries(
    package: str, licences: tuple[str, ...], cache: Path, run: Callable[..., Iterator[list[Entry]]]
) -> Iterator[Entry]:
    """Entries of those pictures in a wallpaper package whose own licence is one of ``licences``."""
    tasks = []
    with open_archive(obtain(PACKAGES[package], cache)) as archive:
        text = read_member(archive, f"./usr/share/doc/{package}/copyright").decode()
        granted = parse_copyright(text)
        for member in sorted(archive.getnames()):
            author, licence = granted.get(Path(member).name, ("", ""))
            if "/backgrounds/" in member and licence in licences:
                slug = re.sub(r"[^a-z0-9]+", "-", Path(member).stem.lower())
                key = f"backgrounds/{slug}"
                split = "test" if stable_hash(slug) % 4 == 0 else "train"
                meta = {"key": key, "source": package, "licence": licence, "author": author, "split": split}
                tasks.append((meta, read_member(archive, member)))
    for entries in run(background_entry, tasks):
        yield from entries
