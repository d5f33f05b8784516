"""A run's folder on disk: run.json says what was measured and how, items.jsonl what became of every picture."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mentor
from mentor.evaluation.feature_cache import content
from mentor.evaluation.pictures import Pictures
from mentor.evaluation.protocol import Item, Record
from mentor.files import write_text

RUN, ITEMS = "run.json", "items.jsonl"


@dataclass(frozen=True)
class SavedRun:
    """What ``read_run`` finds."""

    folder: Path
    run: dict[str, Any]
    items: list[dict[str, Any]]
    """Lines of items.jsonl: key, groups, numbers, failure, item (digest), picture."""


def commit() -> str | None:
    """The commit of the clone that the package runs from, with ``-dirty`` after changes; None outside of a clone."""
    home = Path(mentor.__file__).parent
    if not (home.parent.parent / ".git").exists():
        return None
    words = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None


def provenance() -> dict[str, str]:
    """Versions of what computes the numbers."""
    packages = {name: version(name) for name in ("torch", "numpy", "scipy", "pillow")}
    return {"mentor": mentor.__version__, "python": platform.python_version(), **packages}


def item_digest(item: Item) -> str:
    """Changes whenever what is asked or what it is compared with changes."""
    images = [*item.prompt.images, *item.references, *([item.target] if item.target is not None else [])]
    asked = [item.key, item.prompt.text, item.text, list(map(content, images)), *item.prompt.queries]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def with_failures(records: Sequence[Record], pictures: Pictures) -> list[Record]:
    """The records; an item without picture fails for the picture's reason."""
    return [
        Record(record.key, record.groups, record.numbers, pictures.failures.get(number, record.failure))
        for number, record in enumerate(records)
    ]


def write_run(
    folder: Path, run: Mapping[str, Any], items: Sequence[Item], records: Sequence[Record], pictures: Pictures
) -> None:
    """Write both files, each whole or not at all. Raises ``OSError`` when the disk refuses, ``ValueError`` for NaN."""
    lines = [
        {
            "key": record.key,
            "item": item_digest(item),
            "groups": dict(record.groups),
            "numbers": dict(record.numbers),
            "failure": record.failure,
            "picture": None if path is None or number in pictures.failures else os.path.relpath(path, folder),
        }
        for number, (item, record, path) in enumerate(zip(items, records, pictures.paths, strict=True))
    ]
    write_text(folder / ITEMS, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
    write_text(folder / RUN, json.dumps(run, indent=2, allow_nan=False) + "\n")


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """Write the results whole or not at all. Raises ``OSError`` when the disk refuses."""
    write_text(path, json.dumps(results, indent=2, allow_nan=False) + "\n")


def check_same(folder: Path, identity: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` where the folder holds results that this run would replace and not repeat or complete.

    ``identity``: what run.json says of whose pictures are scored, on what, and how (``mentor.evaluation.run.identity``).
    """
    try:
        there = json.loads((folder / RUN).read_text(encoding="utf-8"))
        whose, what, items = there["name"], there["benchmark"], int(there["items"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing whole
    wanted = json.loads(json.dumps(identity))
    unlike = [f"another {name}" for name in wanted if name != "items" and there.get(name) != wanted[name]]
    if items > wanted["items"]:
        unlike.append("more items")
    if unlike:
        raise ValueError(
            f"{folder} holds the results of {whose} on {what} with {' and '.join(unlike)}: give another --out; or, to score "
            "its pictures in another way, a copy of it without run.json"
        )


def read_run(folder: Path) -> SavedRun:
    """A finished run; ``ValueError`` when the folder holds none, or a damaged one."""
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
        items = [json.loads(line) for line in (folder / ITEMS).read_text(encoding="utf-8").splitlines()]
        known = isinstance(run["benchmark"], str) and isinstance(run["summary"], dict)
        if not known or not all({"key", "item", "numbers"} <= set(line) for line in items):
            raise ValueError("keys are missing")
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: no finished run of mentor evaluate there ({error.filename} is missing)") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: {RUN} or {ITEMS} is damaged ({error}); evaluate again") from error
    return SavedRun(folder, run, items)
