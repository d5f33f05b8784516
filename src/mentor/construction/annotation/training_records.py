"""Annotations become training records of the paper's tasks (table 8), in the format of the released data.

One file a task, so that a recipe weighs each: text_to_image, reconstruct, segment, recover, multi.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mentor.construction.annotation.store import all_lines
from mentor.files import write_text

TASKS = ("text_to_image", "reconstruct", "segment", "recover", "multi")
BACKGROUNDS = "backgrounds.jsonl"


def records_of(line: dict[str, Any], picture: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(task, record) of every record that one annotated picture makes; ``picture``: its name as records give it."""
    text, objects = line["caption"], line["objects"]
    yield "text_to_image", {"image_path": picture, "input_text": text, "generation_only": True}
    yield "reconstruct", {"image_path": picture, "source_image": picture, "input_text": text}
    for each in objects:
        about = {"image_path": each["mask"], "source_image": picture, "input_text": text, "objects": each["name"]}
        yield "segment", about | {"do_mask": True}
        yield "recover", about | {"do_replace": True}
    if len(objects) > 1:
        masks, names = [each["mask"] for each in objects], [each["name"] for each in objects]
        yield "multi", {"image_path": masks, "source_image": picture, "input_text": text, "objects": names}


def write_records(folder: Path, pictures: Path, backgrounds: Iterable[str] = ()) -> dict[str, int]:
    """Writes the record files of all annotations in ``folder``, and a recipe's part that reads them; returns their counts.

    ``pictures``: the folder that the annotations' pictures are named in. Names in records are relative to ``folder``, so that
    both may be moved together. ``backgrounds``: names of pictures that recovery puts objects on; none: the pictures
    themselves.
    """
    above = Path(os.path.relpath(pictures.resolve(), folder.resolve()))
    lines: dict[str, list[str]] = {task: [] for task in TASKS}
    seen: list[str] = []
    for line in all_lines(folder):
        if "failure" not in line:
            picture = (above / line["picture"]).as_posix()
            seen.append(picture)
            for task, record in records_of(line, picture):
                lines[task].append(json.dumps(record, ensure_ascii=False))
    for task, found in lines.items():
        write_text(folder / f"{task}.jsonl", "".join(f"{record}\n" for record in found))
    shown = [json.dumps({"input_image": name}, ensure_ascii=False) for name in [*backgrounds] or seen]
    write_text(folder / BACKGROUNDS, "".join(f"{record}\n" for record in shown))
    counts = {task: len(found) for task, found in lines.items()}
    write_text(folder / "sources.yaml", sources_yaml(folder, counts))
    return counts


def sources_yaml(folder: Path, counts: dict[str, int]) -> str:
    """The ``data`` of a recipe that trains on the files; a task's weight is its number of records."""
    rows = [
        f"    - {{kind: released, path: {task}.jsonl, weight: {count}, options: {{tasks: [{task}]}}}}"
        for task, count in counts.items()
        if count
    ]
    return "\n".join(
        [
            "# Written by mentor build-data; the weights are the numbers of records. Put it into a recipe.",
            "data:",
            f"  folder: {folder.as_posix()}",
            "  sources:",
            *rows,
            "  defaults:",
            f"    released: {{backgrounds: {BACKGROUNDS}}}",
            "",
        ]
    )
