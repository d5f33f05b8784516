"""A recipe's two splits: what one source holds out, no other source of the recipe draws in training."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from mentor.config.data import DataConfig
from mentor.config.load import from_dict
from mentor.construction.annotation.training_records import write_records
from mentor.data.example import Example
from mentor.data.processor import Processor
from mentor.data.recipe_samples import recipe_samples
from tests.data.released_folder import write_lines
from tests.generation.tiny_bundle import CONFIG, text_tokenizer

PICTURES = 48


def _annotated(folder: Path) -> dict[tuple[int, ...], str]:
    """Pictures of one colour each with two objects, the records of their annotations, and whose colour is whose."""
    (folder / "masks").mkdir(parents=True)
    lines, colours = [], {}
    for number in range(2):
        mask = np.zeros((16, 16), bool)
        mask[:, 8 * number : 8 * number + 8] = True
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    for number in range(PICTURES):
        name = f"{number}.png"
        colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number / PICTURES, 1, 1))
        Image.new("RGB", (16, 16), colour).save(folder / name)
        colours[colour] = name
        objects = [{"name": each, "mask": f"masks/{place}.png"} for place, each in enumerate(("left", "right"))]
        lines.append({"picture": name, "caption": "two halves", "objects": objects})
    write_lines(folder / "annotations-00000-of-00001.jsonl", lines)
    write_records(folder, folder)
    return colours


def test_no_target_of_the_held_out_split_is_drawn_in_training(tmp_path: Path) -> None:
    colours = _annotated(tmp_path / "data")
    part = yaml.safe_load((tmp_path / "data" / "sources.yaml").read_text())["data"]
    data = from_dict(DataConfig, {**part, "held_out": 4})
    mixtures = recipe_samples(data, 0, Processor(CONFIG, text_tokenizer()), tmp_path / "rejects.jsonl")

    def name(example: Example) -> str:
        return colours[tuple(int(part) for part in np.asarray(example.target).reshape(-1, 3).max(axis=0))]

    drawn: dict[str, set[tuple[str, str]]] = {}
    for split, mixture in mixtures.items():
        examples = [mixture.sample(index) for index in range(800)]
        drawn[split] = {(example.task, name(example)) for example in examples}
    held, trained = ({picture for _, picture in drawn[split]} for split in ("held_out", "train"))
    assert not held & trained
    assert held | trained == set(colours.values())
    assert len(held) == 4, "as many pictures as asked, the same of every source"
    assert {task for task, _ in drawn["held_out"]} == {task for task, _ in drawn["train"]}
    assert len(drawn["held_out"]) == 5 * len(held)


def test_an_endless_source_holds_nothing_out_of_the_others(tmp_path: Path) -> None:
    _annotated(tmp_path / "data")
    sources: list[dict[str, Any]] = [
        {"kind": "pictures", "path": str(tmp_path / "data"), "options": {"subject": "thing"}},
        {"kind": "released", "path": str(tmp_path / "data" / "text_to_image.jsonl")},
    ]
    data = from_dict(DataConfig, {"sources": sources, "held_out": 4})
    mixtures = recipe_samples(data, 0, Processor(CONFIG, text_tokenizer()), tmp_path / "rejects.jsonl")
    for mixture in mixtures.values():
        assert {mixture.sample(index).task for index in range(12)} == {"own_subject", "text_to_image"}


def test_the_corpus_s_option_of_recolouring_reaches_training_alone(tmp_path: Path) -> None:
    plain = {"weights": {"recover": 1.0}, "held_out": 4}
    given = from_dict(DataConfig, {**plain, "defaults": {"corpus": {"recolour": 1.0}}})
    (source,) = given.all_sources
    assert source.options == {"tasks": {"recover": 1.0}, "recolour": 1.0}
    processor = Processor(CONFIG, text_tokenizer())
    mixtures = recipe_samples(given, 0, processor, tmp_path / "one.jsonl")
    before = recipe_samples(from_dict(DataConfig, plain), 0, processor, tmp_path / "other.jsonl")
    same = {
        split: [
            np.array_equal(mixtures[split].sample(index).target, before[split].sample(index).target)
            for index in range(4)
        ]
        for split in ("train", "held_out")
    }
    assert same == {"train": [False] * 4, "held_out": [True] * 4}
