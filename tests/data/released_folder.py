"""A folder of a few pictures and records in the released data's format, made by code: every kind of task, and broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIDE = 48
SKY, GROUND, FOX = (120, 170, 230), (90, 140, 70), (220, 110, 30)

GOOD: dict[str, dict[str, Any]] = {
    "text_to_image": {"image_path": "tall.png", "source_image": "tall.png", "input_text": "a hill", "generation_only": True},
    "reconstruct": {"image_path": "wide.png", "source_image": "wide.png", "input_text": "a fox", "objects": None},
    "segment": {
        "image_path": "mask.png", "source_image": "scene.png", "input_text": "a fox", "objects": "fox", "do_mask": True,
    },
    "recover": {
        "image_path": "mask.png", "source_image": "scene.png", "input_text": "a fox on grass", "objects": "fox",
        "do_replace": True,
    },
    "subject": {
        "image_path": "fox.png", "source_image": "scene.png", "input_text": "a fox on grass <image>", "objects": "fox",
        "generation_only": False,
    },
    "multi": {
        "image_path": ["mask.png", "ground.png"], "source_image": "scene.png", "input_text": "a fox on grass",
        "objects": ["fox", "grass"],
    },
    "interleaved": {
        "image_path": ["fox.png", "wide.png"], "source_image": "tall.png", "input_text": "<image> and <image> at sea",
        "objects": ["fox", "sky"], "input_img_list": True,
    },
}  # fmt: skip
"""Task -> a record of it."""

BROKEN: dict[str, Any] = {
    "no such file": GOOD["subject"] | {"image_path": "absent.png"},
    "damaged": GOOD["reconstruct"] | {"image_path": "damaged.png"},
    "source_image: missing": {"image_path": "fox.png", "input_text": "a fox"},
    "image_path: missing": {"source_image": "fox.png", "input_text": "a fox", "generation_only": True},
    "marks no pixel": GOOD["segment"] | {"image_path": "black.png"},
    "no task has the fields generation_only, objects": GOOD["segment"] | {"do_mask": False, "generation_only": True},
    "no task has the fields do_mask": GOOD["reconstruct"] | {"do_mask": True},
    "2 names for 1 masks": GOOD["multi"] | {"image_path": ["mask.png"]},
    "1 image marks for 2 images": GOOD["interleaved"] | {"input_text": "<image> at sea"},
    "input_text: expected text": GOOD["text_to_image"] | {"input_text": 7},
    "do_mask: expected true or false": GOOD["segment"] | {"do_mask": "yes"},
    "the prompt is empty": GOOD["text_to_image"] | {"input_text": " "},
    "expected an object with fields": ["a", "list"],
}
"""Part of the reason -> a record that cannot be used."""


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene = Image.new("RGB", (SIDE, SIDE), SKY)
    draw = ImageDraw.Draw(scene)
    draw.rectangle((0, 32, SIDE, SIDE), fill=GROUND)
    draw.rectangle((8, 20, 23, 35), fill=FOX)
    scene.save(folder / "scene.png")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    Image.fromarray(mask).save(folder / "black.png")
    mask[20:36, 8:24] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray((np.arange(SIDE) >= 36)[:, None].repeat(SIDE, 1).astype(np.uint8) * 255).save(folder / "ground.png")
    Image.new("RGB", (40, 40), FOX).save(folder / "fox.png")
    wide = Image.new("RGB", (96, 48), SKY)
    wide.paste(FOX, (32, 0, 64, 48))
    wide.save(folder / "wide.png")
    wide.transpose(Image.Transpose.ROTATE_90).save(folder / "tall.png")
    for number, colour in enumerate([(250, 0, 250), (0, 250, 250)]):
        Image.new("RGB", (60, 50), colour).save(folder / f"background{number}.png")
    (folder / "damaged.png").write_bytes((folder / "wide.png").read_bytes()[:60])


def write_lines(path: Path, records: list[Any]) -> Path:
    """Records as jsonl; text is written as it is, which is how a test breaks a line."""
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def write_released(folder: Path, records: list[Any], name: str = "train.jsonl") -> Path:
    """A data set: the pictures, backgrounds and a jsonl file of ``records``, whose path is returned."""
    write_pictures(folder)
    write_lines(folder / "backgrounds.jsonl", [{"input_image": f"background{i}.png"} for i in (0, 1)])
    return write_lines(folder / name, records)
