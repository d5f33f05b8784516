"""What a record of the released data (Mentor_Stage1, Mentor_Stage2) means: its fields, checked, and the task they make.

    field            text to image   reconstruct   segment          recover       subject       multi            interleaved
    generation_only  true
    objects                                        name             name          name          names            names
    do_mask                                        true
    do_replace                                                      true
    input_img_list                                                                                               true
    image_path       target          target        mask             mask          reference     masks            references
    source_image                     reference     picture          target        target        target           target
    input_text       caption         caption                        caption       caption       caption          prompt

Read with ``recovery=False`` (stage 1) every record with one object is a segmentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mentor.data.example import BadRecord
from mentor.prompt import IMAGE_PLACEHOLDER

_FLAGS = ("generation_only", "do_mask", "do_replace", "input_img_list")


@dataclass(frozen=True)
class ReleasedRecord:
    """A record with its fields checked, and the task that they make."""

    task: str
    image_path: tuple[str, ...]
    source_image: tuple[str, ...]
    text: str
    objects: tuple[str, ...]
    masked: bool

    @property
    def target(self) -> str:
        """The name of the picture that is drawn."""
        return (self.image_path if self.task in ("text_to_image", "reconstruct") else self.source_image)[0]


def read_record(record: Any, *, recovery: bool = True) -> ReleasedRecord:
    """Checks the fields of a record and finds its task; ``BadRecord`` for fields that make none."""
    if not isinstance(record, dict):
        raise BadRecord(f"expected an object with fields, got {type(record).__name__}")
    flags = {name: _flag(record, name) for name in _FLAGS}
    text = record.get("input_text", "")
    if not isinstance(text, str):
        raise BadRecord(f"input_text: expected text, got {type(text).__name__}")
    several = isinstance(record.get("objects"), list)
    objects = _names(record, "objects")
    task = _task(flags, objects, several, recovery)
    if task != "interleaved":
        text = text.replace(IMAGE_PLACEHOLDER, "").strip()
    image_path, source_image = _names(record, "image_path"), _names(record, "source_image")
    if not image_path or not (source_image or task == "text_to_image"):
        raise BadRecord(f"{'source_image' if image_path else 'image_path'}: missing, a {task} record needs it")
    if task == "multi" and len(image_path) != len(objects):
        raise BadRecord(f"objects: {len(objects)} names for {len(image_path)} masks in image_path")
    if task == "interleaved" and text.count(IMAGE_PLACEHOLDER) != len(image_path):
        raise BadRecord(f"input_text: {text.count(IMAGE_PLACEHOLDER)} image marks for {len(image_path)} images")
    return ReleasedRecord(task, image_path, source_image, text, objects, flags["do_mask"])


def _task(flags: dict[str, bool], objects: tuple[str, ...], several: bool, recovery: bool) -> str:
    given = ", ".join([name for name, value in flags.items() if value] + (["objects"] if objects else [])) or "nothing"
    refused = BadRecord(f"no task has the fields {given}")
    if flags["input_img_list"]:
        if flags["generation_only"] or flags["do_mask"] or flags["do_replace"]:
            raise refused
        return "interleaved"
    if flags["generation_only"]:
        if objects or flags["do_mask"] or flags["do_replace"]:
            raise refused
        return "text_to_image"
    if not objects:
        if flags["do_mask"] or flags["do_replace"]:
            raise refused
        return "reconstruct"
    if flags["do_mask"] and flags["do_replace"]:
        raise refused
    if several:
        return "multi"
    if flags["do_mask"] or not recovery:
        return "segment"
    return "recover" if flags["do_replace"] else "subject"


def _flag(record: dict[str, Any], name: str) -> bool:
    value = record.get(name) or False
    if not isinstance(value, bool):
        raise BadRecord(f"{name}: expected true or false, got {value!r}")
    return value


def _names(record: dict[str, Any], name: str) -> tuple[str, ...]:
    """A field that holds text, a list of texts, or nothing."""
    value = record.get(name)
    values = [] if value is None or value == "" else value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) and item.strip() for item in values):
        raise BadRecord(f"{name}: expected text or a list of texts, got {value!r}")
    return tuple(values)
