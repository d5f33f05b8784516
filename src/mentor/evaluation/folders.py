"""Folders of pictures as benchmarks read them: which files count, in which order, and how a picture becomes a square."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def picture_files(folder: Path) -> list[Path]:
    """The picture files of a folder and the folders in it, sorted by path; ``ValueError`` when there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder of pictures, which is not there")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not _hidden(path, folder))
    if not files:
        raise ValueError(f"{folder}: expected pictures in it ({', '.join(SUFFIXES)}), found none")
    return files


def crop_then_resize(picture: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """The largest centred square of a picture, scaled to ``side`` pixels; a picture of that size stays as it is."""
    short = min(picture.size)
    left, top = round((picture.width - short) / 2), round((picture.height - short) / 2)
    square = picture.convert("RGB").crop((left, top, left + short, top + short))
    return square if short == side else square.resize((side, side), resample)


def resize_then_crop(picture: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """A picture scaled until its shorter side is ``side`` pixels, then its centred square."""
    short = min(picture.size)
    size = (int(side * picture.width / short), int(side * picture.height / short))
    scaled = picture.convert("RGB") if short == side else picture.convert("RGB").resize(size, resample)
    left, top = round((scaled.width - side) / 2), round((scaled.height - side) / 2)
    return scaled.crop((left, top, left + side, top + side))


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
