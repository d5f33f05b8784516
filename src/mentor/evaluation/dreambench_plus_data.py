"""DreamBench++ on disk: the references with their nine prompts, and the tree of pictures that a method made of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mentor.data.images import load_image
from mentor.evaluation.protocol import Source

CATEGORIES = ("animal", "human", "object", "style")
PROMPT_TYPES = ("photorealistic",) * 4 + ("style_transfer",) * 3 + ("imaginative",) * 2
"""What the prompts of every reference are, in their order."""
REFERENCES = 150
"""How many references the official data has."""
_PICTURES = (".jpg", ".jpeg", ".png")
_LIVE = ("animal", "human")


@dataclass(frozen=True)
class Collection:
    """A reference and its prompts."""

    name: str
    """Official id, for example ``live_subject_animal_00_kitten``: category, number of the file, subject."""
    category: str
    subject: str
    image: Image.Image
    prompts: tuple[str, ...]


def read_collections(source: Source) -> list[Collection]:
    """All references in the order of their ids.

    The layout is the official one: ``images/**/<category>/<number>.jpg`` and ``captions/**/<category>/<number>.txt`` with
    the same paths; a caption file has the subject in its first line and the nine prompts below. Raises ``ValueError`` that
    names the file for anything else, unreadable pictures included.
    """
    images = _by_place(source.file("images"), _PICTURES)
    captions = _by_place(source.file("captions"), (".txt",))
    for name, present, other in (("caption", captions, images), ("picture", images, captions)):
        missing = sorted(set(other) - set(present))
        if missing:
            raise ValueError(f"{source.folder}: {len(missing)} {name} file(s) are missing, the first for {missing[0]}")
    if not images:
        raise ValueError(f"{source.folder}: expected pictures in images/, found none")
    collections = [_collection(images[place], captions[place]) for place in images]
    names = [collection.name for collection in collections]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{source.folder}: two references have the id {name}")
    return sorted(collections, key=lambda collection: collection.name)


def _by_place(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files by their path without ending, relative to the folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() in suffixes and not path.name.startswith("."):
            place = path.relative_to(folder).with_suffix("").as_posix()
            if place in found:
                raise ValueError(f"{path} and {found[place].name} have the same place; expected one file")
            found[place] = path
    return found


def _collection(image: Path, captions: Path) -> Collection:
    category = captions.parent.name
    if category not in CATEGORIES:
        raise ValueError(f"{captions}: expected it in a folder named {', '.join(CATEGORIES)}, got {category!r}")
    try:
        lines = captions.read_text(encoding="utf-8").strip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{captions}: is not UTF-8 text") from error
    subject, *prompts = (line.strip() for line in lines)
    if len(prompts) != len(PROMPT_TYPES) or not all((subject, *prompts)):
        raise ValueError(
            f"{captions}: expected the subject and {len(PROMPT_TYPES)} prompts, one a line, got {len(lines)} lines"
            + (", some empty" if not all((subject, *prompts)) else "")
        )
    prefix = f"live_subject_{category}" if category in _LIVE else category
    name = f"{prefix}_{captions.stem}_{subject.lower().replace(' ', '_')}"
    if "/" in name or "\\" in name:
        raise ValueError(f"{captions}: the subject {subject!r} cannot be part of a folder's name")
    return Collection(name, category, subject, load_image(image), tuple(prompts))


def picture_key(collection: str, prompt: int, picture: int = 0) -> str:
    """Where a picture lies below ``tgt_image``, without ending."""
    return f"{collection}/{prompt}_{picture}"


def rating_key(key: str) -> str:
    """The name that DreamBench++'s rating files use for ``picture_key``: "<id>-<prompt>"."""
    collection, _, number = key.rpartition("/")
    return f"{collection}-{number.split('_')[0]}"


def write_tree(
    folder: Path, collections: Sequence[Collection], pictures: Sequence[Image.Image | None], *, picture: int = 0
) -> None:
    """Write a method's pictures as DreamBench++ has them: ``{src_image,tgt_image,text}/<id>/<prompt>_<picture>.{jpg,txt}``.

    ``pictures`` are in the order of the collections, nine each; None: there is none. The folder appears when it is complete;
    raises ``ValueError`` when it is there already and for another number of pictures.
    """
    expected = len(collections) * len(PROMPT_TYPES)
    if len(pictures) != expected:
        raise ValueError(f"expected {expected} pictures, got {len(pictures)}")
    if folder.exists():
        raise ValueError(f"{folder}: is there already; choose another name for the method")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for number, collection in enumerate(collections):
            for kind in ("src_image", "tgt_image", "text"):
                (temporary / kind / collection.name).mkdir(parents=True)
            for index, prompt in enumerate(collection.prompts):
                key = picture_key(collection.name, index, picture)
                made = pictures[number * len(PROMPT_TYPES) + index]
                collection.image.convert("RGB").save(temporary / "src_image" / f"{key}.jpg")
                (temporary / "text" / f"{key}.txt").write_text(prompt, encoding="utf-8")
                if made is not None:
                    made.convert("RGB").save(temporary / "tgt_image" / f"{key}.jpg")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
