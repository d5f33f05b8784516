"""Tux Paint's photographic stamps (GPL-2): cut-out photographs with an English sentence each."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from mentor.construction.corpora.images import cut_out, encode_webp
from mentor.construction.corpora.nouns import clean_subject, head_noun, split_of
from mentor.construction.corpora.pack import Entry
from mentor.construction.fetch import PACKAGES, obtain, open_archive, read_member

_FOLDER = "./usr/share/tuxpaint/stamps/"
_NOT_PHOTOS = frozenset({"cartoon", "symbols", "people", "seasonal", "roadsigns", "flags", "naturalforces"})
_MIN_SIDE = 64
_MIN_COLOURS = 150


def subject_of(sentence: str) -> str:
    """Noun phrase of a stamp's sentence ("A peacock (a male peafowl)." -> "peacock"); empty if it is too long."""
    subject = re.sub(r"^(?:an?|the|some|eat your)\s+", "", clean_subject(sentence.partition("—")[0]))
    subject = re.sub(r"^(?:pair|bunch|quarter|plant|baby) of (?:an? )?", "", subject)
    return subject if len(subject.split()) <= 4 else ""


def is_photo(image: Image.Image) -> bool:
    """Whether a picture is large enough and has as many colours (at 5 bits a channel) as only photographs have."""
    if min(image.size) < _MIN_SIDE:
        return False
    pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
    colours = np.unique(pixels[pixels[:, 3] > 128, :3] >> 3, axis=0)
    return len(colours) >= _MIN_COLOURS


def stamp_entry(task: tuple[str, str, bytes]) -> list[Entry]:
    """Pack entry of one stamp (path, sentence, PNG bytes), or nothing if it is no photographic cut-out."""
    path, sentence, data = task
    subject = subject_of(sentence)
    picture = Image.open(io.BytesIO(data))
    image = cut_out(picture) if subject and is_photo(picture) else None
    if image is None:
        return []
    noun = head_noun(subject)
    key = f"stamps/{re.sub('[^a-z0-9]+', '-', path.lower())}"
    meta = {
        "key": key,
        "subject": subject,
        "noun": noun,
        "category": PurePosixPath(path).parts[0],
        "style": "photographed",
        "source": "stamps",
        "licence": "GPL-2.0",
        "author": "Tux Paint contributors",
        "identity": key,
        "concept": subject.replace(" ", "-"),
        "view": 0,
        "split": split_of(noun),
    }
    return [Entry(meta, encode_webp(image))]


def stamp_entries(cache: Path, run: Callable[..., Iterator[list[Entry]]]) -> Iterator[Entry]:
    """Entries of the photographic stamps in the order of their paths."""
    tasks = []
    with open_archive(obtain(PACKAGES["tuxpaint-stamps-default"], cache)) as archive:
        names = set(archive.getnames())
        for name in sorted(names):
            text = name.removesuffix(".png") + ".txt"
            path = name.removeprefix(_FOLDER).removesuffix(".png")
            if not name.endswith(".png") or text not in names or _NOT_PHOTOS & set(PurePosixPath(path).parts):
                continue
            sentence = read_member(archive, text).decode(errors="replace").splitlines()[0]
            tasks.append((path, sentence, read_member(archive, name)))
    for entries in run(stamp_entry, tasks):
        yield from entries
