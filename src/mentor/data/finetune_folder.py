"""A folder of pictures of one subject: photos as they are, pictures with transparency as cut-outs too."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mentor.data.images import FILE_FORMATS, SUFFIXES, load_image

MOST = 100
"""More pictures are a data set, which ``pairs`` read without holding all of it in memory."""

_VISIBLE = 128
_OPAQUE = 0.99
"""A picture with this share of visible pixels is no cut-out, whatever its file could hold."""


@dataclass(frozen=True)
class OwnPicture:
    """One picture of the folder."""

    name: str
    image: Image.Image
    """RGB, transparency laid on white."""
    cutout: Image.Image | None
    """RGBA, cropped to what is visible, where the file has transparent parts."""
    caption: str = ""


def picture_files(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """The pictures in a folder by their names, and the other files that it shows. ValueError if there is no picture."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: {'is a file' if folder.exists() else 'there is no such folder'}; expected a folder"
        )
    shown = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    pictures = [path for path in shown if path.suffix.lower() in SUFFIXES]
    others = [path for path in shown if path not in pictures]
    if not pictures:
        expected = unread(others) or f"expected files whose names end in {', '.join(SUFFIXES)}"
        raise ValueError(f"{folder} holds no picture; {expected}")
    if len(pictures) > MOST:
        raise ValueError(
            f"{folder} holds {len(pictures)} pictures, more than {MOST}; list them as pairs (docs/data.md)"
        )
    return pictures, others


def unread(others: Sequence[Path]) -> str:
    """What helps with files that are pictures, but not for this installation; empty where there are none."""
    for suffix in (".heic", ".heif", ".avif"):
        count = sum(path.suffix.lower() == suffix for path in others)
        if count:
            package = "--upgrade pillow" if suffix == ".avif" else "pillow-heif"
            return f"{count} {suffix} files: pip install {package}, or export them as JPEG"
    return ""


def read_pictures(folder: str | Path, captions: str | Path | None = None, *, longest: int = 512) -> list[OwnPicture]:
    """The pictures of a folder in the order of their names, no side of any longer than ``longest`` pixels.

    ValueError names the first one that cannot be read, and every mistake in the file ``captions`` (``read_captions``).
    """
    files, _ = picture_files(folder)
    words = {} if captions is None else read_captions(captions, {path.name for path in files})
    pictures = []
    for path in files:
        image, cutout = load_image(path), _cutout(path)
        for each in (image, cutout):
            if each is not None:
                each.thumbnail((longest, longest))
        pictures.append(OwnPicture(path.name, image, cutout, words.get(path.name, "")))
    return pictures


def read_captions(path: str | Path, names: set[str]) -> dict[str, str]:
    """A text file with a line ``NAME: caption`` for a picture; ValueError names the line that is wrong."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: the captions cannot be read ({error})") from error
    captions: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, caption = (part.strip() for part in line.partition(":"))
        if not caption or "<image>" in caption:
            raise ValueError(f"{path}, line {number}: expected NAME: caption, without <image>, got {line.strip()!r}")
        if name not in names or name in captions:
            what = "is named twice" if name in captions else "is no picture of the folder"
            raise ValueError(f"{path}, line {number}: {name!r} {what}")
        captions[name] = caption
    return captions


def _cutout(path: Path) -> Image.Image | None:
    """The visible part of a file that ``load_image`` could read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow repeats what load_image has heard
        with Image.open(path, formats=FILE_FORMATS) as opened:
            if not opened.has_transparency_data or opened.mode.startswith("I"):
                return None
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    visible = np.asarray(picture.getchannel("A")) >= _VISIBLE
    if not visible.any():
        raise ValueError(f"{path}: shows nothing, every pixel is transparent")
    if visible.mean() > _OPAQUE:
        return None
    return picture.crop(Image.fromarray(visible).getbbox())
