"""Annotations on disk: a line for each picture, written when it is finished, and the masks beside it.

``annotations-00003-of-00016.jsonl`` holds share 3 of 16 of the pictures; a run that was stopped goes on after its last whole
line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.construction.annotation.annotator import Annotation
from mentor.files import whole

MASKS = "masks"


class AnnotationFile:
    """The lines of one share under ``folder``; raises ``ValueError`` where the file holds something else."""

    def __init__(self, folder: Path, share: int = 0, shares: int = 1) -> None:
        self.folder = folder
        self.path = folder / f"annotations-{share:05d}-of-{shares:05d}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.done = {line["picture"]: "failure" in line for line in self._whole_lines()}

    def _whole_lines(self) -> list[dict[str, Any]]:
        """The lines so far; what a killed run left of its last one is cut off."""
        if not self.path.exists():
            return []
        text = self.path.read_bytes()
        end = text.rfind(b"\n") + 1
        if end < len(text):
            with self.path.open("r+b") as file:
                file.truncate(end)
        return list(read_lines(self.path))

    def add(self, name: str, picture: Image.Image, annotation: Annotation) -> None:
        """Writes the masks, then the line that says they are there."""
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
        line = {"picture": name, "size": list(picture.size), "caption": annotation.caption, "objects": objects}
        self._append(line | {"left_out": annotation.left_out})

    def add_failure(self, name: str, reason: str) -> None:
        """Notes that a picture gives nothing, so that it is not tried again."""
        self._append({"picture": name, "failure": reason})

    def _append(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.done[line["picture"]] = "failure" in line


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one share; ``ValueError`` for what is no annotation."""
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            if isinstance(line["picture"], str) and ("failure" in line or isinstance(line["objects"], list)):
                yield line
                continue
        except (ValueError, KeyError, TypeError):
            pass
        raise ValueError(f"{path}: line {number} is no annotation; delete the line, or choose another folder")


def all_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of all shares that lie in ``folder``, in the order of their pictures' names."""
    lines = [line for path in sorted(folder.glob("annotations-*-of-*.jsonl")) for line in read_lines(path)]
    yield from sorted(lines, key=lambda line: line["picture"])
