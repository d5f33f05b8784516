"""Building a corpus pack from pinned packages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mentor.construction.corpora.emoji import STYLES, emoji_entries
from mentor.construction.corpora.furniture import furniture_entries
from mentor.construction.corpora.pack import Entry, Origin, attribution_rows, write_index, write_source
from mentor.construction.corpora.stamps import stamp_entries
from mentor.construction.corpora.wallpapers import wallpaper_entries
from mentor.construction.fetch import PACKAGES, obtain
from mentor.files import PARTIAL

Run = Callable[..., Iterator[list[Entry]]]
Source = Callable[[Path, Run], Iterator[Entry]]

PERMISSIVE = ("MIT", "Apache-2.0", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0")
SHARE_ALIKE = ("CC-BY-SA-3.0", "CC-BY-SA-4.0")
GPL = ("GPL-2.0",)

_SHARE_ALIKE_EMOJI = ("openmoji",)


def _wallpapers(package: str, licences: tuple[str, ...]) -> tuple[Source, str, tuple[str, ...]]:
    return partial(wallpaper_entries, package, licences), package, licences


def sources(pack: str) -> dict[str, tuple[Source, str, tuple[str, ...]]]:
    """Sources of a pack: name -> (function that makes its entries, package, licences that it may hold)."""
    emoji = {name: (partial(emoji_entries, name), name) for name in STYLES}
    if pack == "permissive":
        return {
            **{name: (*emoji[name], PERMISSIVE) for name in emoji if name not in _SHARE_ALIKE_EMOJI},
            "furniture": (furniture_entries, "sweethome3d-furniture", PERMISSIVE),
            "backgrounds": _wallpapers("lomiri-wallpapers-16.04", PERMISSIVE),
        }
    if pack == "share-alike":
        return {
            **{name: (*emoji[name], SHARE_ALIKE) for name in _SHARE_ALIKE_EMOJI},
            "backgrounds-16.04": _wallpapers("lomiri-wallpapers-16.04", SHARE_ALIKE),
            "backgrounds-20.04": _wallpapers("lomiri-wallpapers-20.04", SHARE_ALIKE),
        }
    if pack == "gpl":
        return {"stamps": (stamp_entries, "tuxpaint-stamps-default", GPL)}
    raise ValueError(f"unknown pack {pack!r}: choose permissive, share-alike or gpl")


def build_corpus(
    out: Path,
    pack: str = "permissive",
    *,
    cache: Path,
    jobs: int = 1,
    on_source: Callable[[str, int], None] | None = None,
) -> dict[str, int]:
    """Build a pack into the folder ``out``; returns the number of images per source.

    ``cache`` holds the packages or receives them; ``jobs`` processes draw; ``on_source(name, count)`` hears of each
    finished source. A build cut short leaves an older pack as it was: nothing of it is replaced before all is drawn.
    ValueError: unknown pack, ``out`` holds another pack, a package that is lacking or differs.
    """
    wanted = sources(pack)
    _check_folder(out, pack)
    for _, package, _ in wanted.values():
        obtain(PACKAGES[package], cache)  # before minutes of drawing
    out.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    counts: dict[str, int] = {}
    with TemporaryDirectory(prefix=PARTIAL, dir=out) as drawn, ProcessPoolExecutor(jobs) as pool:
        run = partial(pool.map, chunksize=4)
        for name, (entries_of, package, licences) in wanted.items():
            origin = Origin(PACKAGES[package].name, PACKAGES[package].version, licences)
            entries = list(entries_of(cache, run))
            shards += write_source(Path(drawn), pack, name, entries, origin)
            rows += attribution_rows(entries, origin)
            counts[name] = len(entries)
            if on_source is not None:
                on_source(name, len(entries))
        for shard in shards:
            os.replace(Path(drawn) / shard["file"], out / shard["file"])
    write_index(out, pack, shards, rows)
    for stale in set(out.glob(f"{pack}-*.tar.gz")) - {out / shard["file"] for shard in shards}:
        stale.unlink()
    return counts


def _check_folder(out: Path, pack: str) -> None:
    path = out / "manifest.json"
    if path.is_file():
        present = json.loads(path.read_text(encoding="utf-8")).get("pack")
        if present != pack:
            raise ValueError(f"{out} holds the {present} pack: choose another folder for the {pack} pack (--out)")
