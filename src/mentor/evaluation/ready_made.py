"""Pictures that somebody else's program has made already, found by the items' keys in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mentor.evaluation.pictures import Pictures
from mentor.evaluation.protocol import Item

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG")
PLACES = ("tgt_image", "")
"""DreamBench++ keeps a method's pictures in ``tgt_image`` beside its references and prompts; others need no such folder."""


def find_pictures(folder: Path, items: Sequence[Item]) -> Pictures:
    """The files ``KEY.png`` (or another ending) in ``folder``/tgt_image or ``folder``; what is missing is a failure.

    Raises ``ValueError`` when there is not one picture of the benchmark in the folder.
    """
    if not folder.is_dir():
        raise ValueError(f"--pictures: {folder} is no folder")
    paths = [_find(folder, item.key) for item in items]
    if not any(paths):
        raise ValueError(
            f"--pictures: {folder} holds none of the {len(items)} pictures; expected for example "
            f"{folder / items[0].key}.png or {folder / 'tgt_image' / items[0].key}.jpg"
        )
    return Pictures(paths, {number: "no picture in the folder" for number, path in enumerate(paths) if path is None})


def _find(folder: Path, key: str) -> Path | None:
    candidates = (folder / place / f"{key}{ending}" for place in PLACES for ending in ENDINGS)
    return next((path for path in candidates if path.is_file()), None)
