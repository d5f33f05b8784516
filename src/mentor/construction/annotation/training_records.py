"""Annotations become training records of the paper's tasks (table 8), in the format of the released data.

One file a task, so that a recipe weighs each: text_to_image, reconstruct, segment, recover, multi.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from mentor.construction.annotation.store import all_lines, pictures_from
from mentor.files import whole, write_text

TASKS = ("text_to_image", "reconstruct", "segment", "recover", "multi")
BACKGROUNDS = "backgrounds.jsonl"
OPTIONS: dict[str, dict[str, Any]] = {"recover": {"recovery": True}}
"""What a task needs whatever a recipe's defaults say: stage 1 reads everything else as segmentation."""


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
    both may be moved together; the recipe's ``data.folder`` then names the new place. ``backgrounds``: names of pictures that
    recovery puts objects on; none: the pictures themselves. Raises ValueError, and writes nothing, where no picture of
    ``folder`` has an annotation.
    """
    above = Path(pictures_from(folder, pictures))
    counts, others = Counter(dict.fromkeys(TASKS, 0)), list(backgrounds)
    with ExitStack() as files:
        names = (*(f"{task}.jsonl" for task in TASKS), BACKGROUNDS)
        partials = {name: files.enter_context(whole(folder / name)) for name in names}
        opened = {name: files.enter_context(path.open("w", encoding="ascii")) for name, path in partials.items()}

        def put(name: str, record: dict[str, Any]) -> None:
            opened[name].write(json.dumps(record) + "\n")

        for line in all_lines(folder):
            if "failure" in line:
                continue
            picture = (above / line["picture"]).as_posix()
            for task, record in records_of(line, picture):
                put(f"{task}.jsonl", record)
                counts[task] += 1
            if not others:
                put(BACKGROUNDS, {"input_image": picture})
        if not any(counts.values()):
            raise ValueError(f"{folder}: no picture has an annotation, so there is nothing to train on")
        for name in others:
            put(BACKGROUNDS, {"input_image": name})
    write_text(folder / "sources.yaml", sources_yaml(folder, counts))
    return dict(counts)


def sources_yaml(folder: Path, counts: dict[str, int]) -> str:
    """The ``data`` of a recipe that trains on the files; a task's weight is its number of records."""
    sources = [
        {
            "kind": "released",
            "path": f"{task}.jsonl",
            "weight": count,
            "options": {"tasks": [task], **OPTIONS.get(task, {})},
        }
        for task, count in counts.items()
        if count
    ]
    data = {"folder": str(folder), "sources": sources, "defaults": {"released": {"backgrounds": BACKGROUNDS}}}
    head = (
        "# Written by mentor build-data; the weights are the numbers of records. Put it into a recipe.\n"
        "# data.folder is as it was given with --out, seen from where training starts: change it when the data is moved.\n"
    )
    return head + yaml.safe_dump({"data": data}, sort_keys=False, allow_unicode=True, width=120)
