"""GenEval (Ghosh et al. 2023): 553 prompts in six tasks, four pictures each, judged by a detector and a colour classifier.

Layout: the official ``evaluation_metadata.jsonl`` (in the repository's ``prompts/``). Ready pictures lie in
``<prompt's number, five digits>/samples/<picture's number, four digits>.png``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mentor.data.templates import text_to_image
from mentor.evaluation.backbones import Clip, check_sources, chosen
from mentor.evaluation.detectors import (
    ClipColours,
    ColourNamer,
    Detector,
    Mask2Former,
    NearestColours,
    PrototypeDetector,
)
from mentor.evaluation.feature_cache import content
from mentor.evaluation.folders import picture_files
from mentor.evaluation.geneval_rules import TASKS, check_metadata, failure_of
from mentor.evaluation.protocol import Item, Record, Scores, Source, Tools
from mentor.evaluation.published import published_rows
from mentor.evaluation.record_means import record_means
from mentor.evaluation.stand_ins import STAND_IN
from mentor.evaluation.statistics import bootstrap, cluster_of, mean_of_all
from mentor.files import write_text
from mentor.prompt import Prompt

METADATA = "evaluation_metadata.jsonl"
PROTOTYPES = "classes"
"""Folder of the sample with one picture with alpha for each class, named after it: what the stand-in detector knows."""
SAMPLES = 4
"""Pictures of each prompt."""
PRESETS: Mapping[str, Mapping[str, str]] = {
    "mask2former": {
        "detector": "facebook/mask2former-swin-small-coco-instance",
        "colours": "openai/clip-vit-large-patch14",
    },
    STAND_IN: {"detector": STAND_IN, "colours": STAND_IN},
}


class GenEval:
    """The benchmark: the share of right pictures in each task, and the unweighted mean of the tasks."""

    name = "geneval"
    title = "GenEval"
    columns: Mapping[str, str] = {
        "single_object": "Single",
        "two_object": "Two",
        "counting": "Counting",
        "colors": "Colors",
        "position": "Position",
        "color_attr": "Attribution",
        "overall": "Overall",
    }
    presets: Sequence[str] = tuple(PRESETS)
    hub = ""

    def __init__(self, samples: int = SAMPLES) -> None:
        self.samples = samples

    def items(self, source: Source) -> list[Item]:
        """One item for each sample and prompt; ``ValueError`` names the line of the file that is not GenEval's."""
        prompts = read_metadata(source)
        return [
            Item(
                key=f"{number:05d}/samples/{sample:04d}",
                prompt=Prompt(text_to_image(metadata["prompt"])),
                seed=sample,
                text=metadata["prompt"],
                groups={"task": metadata["tag"]},
            )
            for number, metadata in enumerate(prompts)
            for sample in range(self.samples)
        ]

    def check(self, tools: Tools) -> None:
        """Raises ``ValueError`` for an unknown preset or backbone, or one that is not to be had."""
        check_sources(chosen(tools, PRESETS)[1])

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        """Right or wrong for each picture; missing ones are left out of the means and counted."""
        preset, sources = chosen(tools, PRESETS)
        detector, namer = _eyes(sources, tools)
        asked = read_metadata(tools.source)
        _check_classes(asked, detector)
        records, reasons = [], {}
        for number, item in enumerate(items):
            picture = pictures[number]
            if picture is None:
                records.append(Record(item.key, item.groups, failure="no picture"))
            else:
                wrong = _judged(picture, asked[int(item.key.split("/")[0])], detector, namer, tools.cache)
                records.append(Record(item.key, item.groups, _numbers(item, wrong is None)))
                if wrong is not None:
                    reasons[item.key] = wrong
            if tools.progress is not None:
                tools.progress("detection", number + 1, len(items))
        return Scores(
            records,
            summary_of(records, tools.seed) | {"preset": preset, "reasons": reasons},
            {"detector": detector.name, "colours": namer.name},
            _notes(preset, items),
            published_rows(self.name),
        )


def summary_of(records: Sequence[Record], seed: int = 0) -> dict[str, Any]:
    """Accuracy of each task over its scored pictures and ``overall``, their unweighted mean over the tasks that occur.

    ``correct_prompts`` is the share of prompts with at least one right picture.
    """
    means = record_means(records, ["correct"], seed=seed)
    by_task = {task: [each.numbers["correct"] for each in _of(records, task)] for task in TASKS}
    by_task = {task: values for task, values in by_task.items() if values}
    scored = [record for record in records if record.failure is None]
    clusters = [cluster_of(record.key) for record in scored]
    columns = [
        [each.numbers["correct"] if each.groups["task"] == task else np.nan for each in scored] for task in by_task
    ]
    intervals = {
        task: bootstrap([column], lambda mean: mean, clusters=clusters, seed=seed)
        for task, column in zip(by_task, columns, strict=True)
    }
    intervals["overall"] = bootstrap(columns, mean_of_all, clusters=clusters, seed=seed)
    prompts: dict[str, float] = {}
    for record in records:
        if record.failure is None:
            prompt = record.key.split("/")[0]
            prompts[prompt] = max(prompts.get(prompt, 0.0), record.numbers["correct"])
    accuracies = {task: float(np.mean(values)) for task, values in by_task.items()}
    return {
        **means,
        **accuracies,
        "overall": float(np.mean(list(accuracies.values()))),
        "correct_prompts": float(np.mean(list(prompts.values()))),
        "intervals": {name: list(interval) for name, interval in intervals.items()},
    }


def _numbers(item: Item, correct: bool) -> dict[str, float]:
    """Under the column's own name too, so that two runs can be compared column by column."""
    return dict.fromkeys(("correct", item.groups["task"]), float(correct))


def read_metadata(source: Source) -> list[dict[str, Any]]:
    """The prompts with what their pictures must show; ``ValueError`` names a bad line."""
    path = source.file(METADATA)
    prompts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                prompts.append(json.loads(line))
                check_metadata(prompts[-1])
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    if not prompts:
        raise ValueError(f"{path}: expected one prompt a line, the file is empty")
    return prompts


def _eyes(sources: Mapping[str, str], tools: Tools) -> tuple[Detector, ColourNamer]:
    detector: Detector
    if sources["detector"] == STAND_IN:
        detector = PrototypeDetector(_prototypes(tools.source.file(PROTOTYPES)))
    else:
        detector = Mask2Former(sources["detector"], tools.device)
    colours = sources["colours"]
    return detector, NearestColours() if colours == STAND_IN else ClipColours(Clip(colours, tools.device))


def _judged(
    picture: Image.Image, metadata: Mapping[str, Any], detector: Detector, namer: ColourNamer, cache: Path
) -> str | None:
    """``failure_of``, kept in the cache by everything that it depends on."""
    seen = [content(picture), metadata, detector.fingerprint, namer.fingerprint]
    key = hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:32]
    kept = cache / "geneval" / f"{key}.json"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(failure_of(picture, detector(picture), metadata, namer)))
    reason: str | None = json.loads(kept.read_text(encoding="utf-8"))
    return reason


def _check_classes(asked: Sequence[Mapping[str, Any]], detector: Detector) -> None:
    """A class that the detector cannot name would count as never painted."""
    wanted = {clause["class"] for each in asked for clause in each["include"]}
    if unknown := sorted(wanted - set(detector.labels)):
        raise ValueError(f"{detector.name} has no class {unknown[0]!r}; it has: {', '.join(detector.labels)}")


def _prototypes(folder: Path) -> dict[str, list[Image.Image]]:
    prototypes: dict[str, list[Image.Image]] = {}
    for path in picture_files(folder):
        prototypes.setdefault(path.stem.split("-")[0].replace("_", " "), []).append(Image.open(path).convert("RGBA"))
    return prototypes


def _of(records: Sequence[Record], task: str) -> list[Record]:
    return [record for record in records if record.failure is None and record.groups["task"] == task]


def _notes(preset: str, items: Sequence[Item]) -> list[str]:
    prompts = len({cluster_of(item.key) for item in items})
    notes = [
        f"{prompts} prompts, {len(items)} pictures; overall is the unweighted mean of the tasks, each over its pictures."
    ]
    if preset == STAND_IN:
        return [
            *notes,
            "Stand-in detector and colours: the numbers show that the run works and compare with nothing published.",
        ]
    return [
        *notes,
        "Published rows used mmdet's Mask2Former Swin-S; here the same architecture runs through transformers at the same "
        "size; single pictures can still be judged differently.",
    ]


BENCHMARK = GenEval()
