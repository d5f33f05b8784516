"""Annotations on disk: a line for each picture, written when it is finished, and the masks beside it.

``annotations-00003-of-00016.jsonl`` holds share 3 of 16; which share a picture belongs to follows from its name alone. A run
that was stopped goes on after its last whole line. Of several lines about a picture the last one counts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from PIL import Image

from mentor.construction.annotation.annotator import Annotation
from mentor.files import locked, whole, write_text

MASKS, SETTINGS = "masks", "settings.json"


def share_of(name: str, shares: int) -> int:
    """The share, 0 to ``shares`` - 1, that a picture belongs to, whatever other pictures there are."""
    return int(hashlib.sha256(os.fsencode(name)).hexdigest()[:8], 16) % shares


class AnnotationFile:
    """The lines of one share under ``folder``, which no other process may write meanwhile (``opened``)."""

    def __init__(self, folder: Path, share: int, shares: int) -> None:
        self.folder, self.path = folder, folder / f"annotations-{share:05d}-of-{shares:05d}.jsonl"
        self.done: set[str] = set()
        self.failed: dict[str, int] = {}
        """Pictures that give nothing -> which attempt said so last, from 0."""

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, settings: Mapping[str, Any], share: int = 0, shares: int = 1) -> Iterator[Self]:
        """The file of a share, for the length of the block.

        Raises ``ValueError`` where another process writes it, where the folder was made with other ``settings`` or another
        number of shares, and where a line is no annotation.
        """
        folder.mkdir(parents=True, exist_ok=True)
        file = cls(folder, share, shares)
        with ExitStack() as held:
            held.enter_context(locked(folder / f".{file.path.name}.lock", f"{file.path}: another process writes it"))
            _check_settings(folder, settings)
            others = [path for path in shares_in(folder) if not path.stem.endswith(f"-of-{shares:05d}")]
            if others:
                raise ValueError(f"{others[0]} is a share of another whole: keep to one N of --share I/N in {folder}")
            file._cut()
            file.path.touch()  # a share may be without pictures
            for line in read_lines(file.path):
                file.done.add(line["picture"])
                if "failure" in line:
                    file.failed[line["picture"]] = line.get("attempt", 0)
            yield file

    def _cut(self) -> None:
        """Removes what a killed run left of its last line."""
        if self.path.exists():
            data = self.path.read_bytes()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                with self.path.open("r+b") as file:
                    file.truncate(end)

    def retry_failures(self) -> None:
        """Pictures that give nothing are no longer done."""
        self.done -= self.failed.keys()

    def attempt(self, name: str) -> int:
        """How often a picture gave nothing so far."""
        return self.failed.get(name, -1) + 1

    def add(self, name: str, size: tuple[int, int], annotation: Annotation) -> None:
        """Writes the masks, then the line that says they are there; ``size``: the picture's width and height in its file."""
        objects = []
        for number, each in enumerate(annotation.objects):
            mask = Path(MASKS) / name / f"{number}.png"
            (self.folder / mask).parent.mkdir(parents=True, exist_ok=True)
            with whole(self.folder / mask) as partial:
                Image.fromarray(each.mask.pixels).save(partial, format="PNG")
            objects.append(
                {
                    "name": each.name,
                    "box": list(each.location.box),
                    "points": [list(point) for point in each.location.points],
                    "score": round(each.mask.score, 4),
                    "mask": mask.as_posix(),
                }
            )
        line = {"picture": name, "size": list(size), "caption": annotation.caption, "objects": objects}
        self._append(line | {"left_out": annotation.left_out})

    def add_failure(self, name: str, reason: str) -> None:
        """Notes that a picture gives nothing, so that it is not tried again."""
        self._append({"picture": name, "failure": reason, "attempt": self.attempt(name)})

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="ascii") as file:  # names of files need not be text
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.done.add(line["picture"])


def pictures_from(folder: Path, pictures: Path) -> str:
    """The pictures' folder as seen from the annotations', so that both may be moved together."""
    return Path(os.path.relpath(pictures.resolve(), folder.resolve())).as_posix()


def check_complete(folder: Path, pictures: Path) -> None:
    """Raises ``ValueError`` where ``folder`` holds no annotations of ``pictures``, or not all shares of them."""
    try:
        there = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["pictures"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds no annotations ({SETTINGS}: {error})") from error
    if there != pictures_from(folder, pictures):
        raise ValueError(f"{folder} holds the annotations of {there}, not of {pictures}")
    found = [path.stem.split("-")[1::2] for path in shares_in(folder)]
    missing = sorted(set(range(int(found[0][1]))) - {int(share) for share, _ in found}) if found else [0]
    if missing:
        raise ValueError(f"{folder}: of the shares {', '.join(map(str, missing))} nothing is there yet")


def shares_in(folder: Path) -> list[Path]:
    """The annotation files of a folder."""
    return sorted(folder.glob("annotations-*-of-*.jsonl"))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The last whole line about each picture of one share, sorted by their names; ``ValueError`` for what is no annotation.

    A last line that is still being written is left out. Only names and places are held in memory.
    """
    places: dict[str, int] = {}
    with path.open("rb") as file:
        place = 0
        for number, data in enumerate(file, 1):
            if data.endswith(b"\n"):
                places[_line(data, path, number)["picture"]] = place
            place += len(data)
        for _, place in sorted(places.items()):
            file.seek(place)
            yield json.loads(file.readline())


def all_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of all shares that lie in ``folder``, share by share."""
    for path in shares_in(folder):
        yield from read_lines(path)


def _line(data: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        line = json.loads(data)
        if isinstance(line["picture"], str) and ("failure" in line or isinstance(line["objects"], list)):
            return dict(line)
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path}: line {number} is no annotation; delete the line, or choose another folder")


def _check_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """What the folder is made with, kept from the first annotation on: a run that made none binds nobody to its mistakes."""
    path, wanted = folder / SETTINGS, json.loads(json.dumps(dict(settings)))
    if not any(share.stat().st_size for share in shares_in(folder)):
        write_text(path, json.dumps(wanted, indent=1) + "\n")
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}), but annotations are there: give another --out") from error
    unlike = [name for name in wanted if not isinstance(there, dict) or there.get(name) != wanted[name]]
    if unlike:
        was = ", ".join(f"{name} {there.get(name) if isinstance(there, dict) else None}" for name in unlike)
        raise ValueError(f"{folder} was made with other settings ({was}): give the same ones, or another --out")
