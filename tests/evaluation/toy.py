"""A benchmark whose scores are known: a picture's number is its mean brightness over that of white."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mentor.evaluation.protocol import Item, Record, Row, Scores, Source, Tools
from mentor.evaluation.record_means import record_means
from mentor.prompt import Prompt

REFERENCE = Image.new("RGB", (16, 16), (255, 0, 0))


class Toy:
    name = "toy"
    title = "Toy"
    columns: Mapping[str, str] = {"cp": "CP", "pf": "PF", "cp_pf": "CP x PF"}
    presets: Sequence[str] = ("first", "second")
    hub = ""

    def items(self, source: Source) -> list[Item]:
        return toy_items(6)

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        records = []
        for item, picture in zip(items, pictures, strict=True):
            if picture is None:
                records.append(Record(item.key, item.groups, {}, "there is no picture"))
                continue
            light = float(np.asarray(picture).mean() / 255)
            records.append(Record(item.key, item.groups, {"cp": light, "pf": 0.5}))
        summary = record_means(records, ("cp", "pf"), seed=tools.seed)
        summary["cp_pf"] = summary["cp"] * summary["pf"]
        published = [
            Row("MENTOR", {"cp": 0.55, "pf": 0.84, "cp_pf": 0.47}, "paper, table 3"),
            Row("Rival <b>&", {"cp": 0.9, "pf": 0.2}, "paper, table 3", spread={"cp": 0.01}),
        ]
        return Scores(records, summary, {"light": "numpy"}, ["A note with <angles>."], published)


def toy_items(count: int) -> list[Item]:
    return [
        Item(
            f"{number % 2}_thing/{number}_0",
            Prompt(f"The thing in <image>.\na thing, number {number}", [REFERENCE]),
            references=(REFERENCE,),
            text=f"a thing, number {number}",
            groups={"category": "odd" if number % 2 else "even"},
        )
        for number in range(count)
    ]


def toy_tools(folder: Path, seed: int = 0) -> Tools:
    data, cache = folder / "data", folder / "cache"
    data.mkdir(exist_ok=True, parents=True)
    cache.mkdir(exist_ok=True)
    (data / "file.txt").write_text("data")
    return Tools(Source(data), cache, seed=seed)
