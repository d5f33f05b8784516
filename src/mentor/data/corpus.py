"""The embedded corpus: cut-outs with alpha and backgrounds, read from the pack that `mentor build-corpus` writes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

_REBUILD = "build it again with `mentor build-corpus`"


class _Picture:
    """Dataclass field that holds WebP bytes and decodes them at every access, so that a loaded corpus stays small; a
    picture that was given decoded is returned as it is."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, record: Any, owner: type) -> Image.Image:
        if record is None:
            raise AttributeError(self.name)  # tells dataclass that the field has no default
        held = record.__dict__[self.name]
        return Image.open(io.BytesIO(held), formats=("WEBP",)) if isinstance(held, bytes) else held

    def __set__(self, record: Any, value: Image.Image | bytes) -> None:
        if not isinstance(value, Image.Image | bytes):
            raise TypeError(f"{self.name} must be a picture or WebP bytes, not {type(value).__name__}")
        record.__dict__[self.name] = value


@dataclass(frozen=True)
class Cutout:
    """One object on a transparent ground: RGBA, cropped to its alpha, longest side 128 pixels."""

    key: str
    subject: str  # lower-case noun phrase for prompts: "red apple"
    noun: str  # canonical head noun: the split key
    category: str
    style: str  # word for prompts: "3d", "flat", "drawn", ...
    source: str
    licence: str
    author: str
    identity: str  # shared by pictures of the SAME individual (views of one model, redraws of one emoji)
    concept: str  # shared by pictures of the same kind of thing in any style
    view: int
    split: str  # "train" or "test"
    image: _Picture = field(default=_Picture(), repr=False, compare=False)  # PIL.Image.Image
    turn: float = 0.0  # share of the colour circle that its hues are turned by when it is drawn


@dataclass(frozen=True)
class Background:
    """One background picture: RGB, short side 256 pixels."""

    key: str
    source: str
    licence: str
    author: str
    split: str
    image: _Picture = field(default=_Picture(), repr=False, compare=False)  # PIL.Image.Image


@dataclass(frozen=True)
class Corpus:
    """Cut-outs and backgrounds in the order of their keys."""

    cutouts: list[Cutout]
    backgrounds: list[Background]

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Corpus:
        """Read a pack (default: $MENTOR_CORPUS, ./corpus, the repository's corpus); ValueError if absent or damaged."""
        root = find_pack(folder)
        cutouts: list[Cutout] = []
        backgrounds: list[Background] = []
        for shard in _manifest(root):
            for meta, webp in _read_shard(root / shard["file"], shard["sha256"]):
                if shard["kind"] == "cutout":
                    cutouts.append(Cutout(**meta, image=webp))
                else:
                    backgrounds.append(Background(**meta, image=webp))
        cutouts.sort(key=lambda cutout: cutout.key)
        backgrounds.sort(key=lambda background: background.key)
        return cls(cutouts, backgrounds)

    def split(self, name: str) -> Corpus:
        """The part whose split is ``name``; ValueError unless "train" or "test"."""
        if name not in ("train", "test"):
            raise ValueError(f'the corpus has the splits "train" and "test", not {name!r}')
        return Corpus(
            [cutout for cutout in self.cutouts if cutout.split == name],
            [background for background in self.backgrounds if background.split == name],
        )

    def by_identity(self, split: str) -> dict[str, list[Cutout]]:
        """Cut-outs of one split grouped by the individual that they show, in the order of views."""
        groups: dict[str, list[Cutout]] = defaultdict(list)
        for cutout in self.split(split).cutouts:
            groups[cutout.identity].append(cutout)
        return dict(groups)


def find_pack(folder: str | Path | None = None) -> Path:
    """Folder of the pack that ``Corpus.load(folder)`` reads; ValueError if there is none."""
    places: Sequence[str | Path | None]
    if folder is not None:
        places = [folder]
    elif os.environ.get("MENTOR_CORPUS"):
        places = [os.environ["MENTOR_CORPUS"]]
    else:
        places = ["corpus", Path(__file__).parents[3] / "corpus"]
    for place in places:
        if place is not None and (Path(place) / "manifest.json").is_file():
            return Path(place)
    looked = " and ".join(str(place) for place in places)
    raise ValueError(f"no corpus pack (manifest.json) in {looked}: make one with `mentor build-corpus`")


def _manifest(root: Path) -> list[dict[str, Any]]:
    path = root / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): {_REBUILD}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != 1 or "shards" not in manifest:
        raise ValueError(f"{path} is not a corpus manifest of format 1: {_REBUILD}")
    shards: list[dict[str, Any]] = manifest["shards"]
    return shards


def _read_shard(path: Path, sha256: str) -> list[tuple[dict[str, Any], bytes]]:
    """Pairs of metadata and WebP bytes; the checksum is compared first, so what follows is what was written."""
    if not path.is_file():
        raise ValueError(f"the corpus shard {path} is missing: {_REBUILD}")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"the corpus shard {path} is damaged (its sha256 is not the manifest's): {_REBUILD}")
    pairs = []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        contents = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    for name, text in contents.items():
        if name.endswith(".json"):
            pairs.append((json.loads(text), contents[name.removesuffix("json") + "webp"]))
    return pairs
