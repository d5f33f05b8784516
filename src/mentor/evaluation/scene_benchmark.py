"""The scene benchmark behind the interface of all benchmarks: for any painter, and with its baselines and tasks for a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from mentor.data.catalog import catalog_of
from mentor.data.held_out import evaluation_prompts
from mentor.data.tasks import Sample
from mentor.evaluation.pixels import fitted
from mentor.evaluation.protocol import Item, Record, Row, Scores, Source, Tools
from mentor.evaluation.record_means import record_means
from mentor.evaluation.scene_judge import Judge, Subjects
from mentor.evaluation.scene_tables import LABELS, scene_lines
from mentor.evaluation.statistics import summarise
from mentor.models.perceptual import STLPIPS

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus

DEFAULT_N, SAMPLE_N = 240, 8
SIZE, SMALLEST = 128, 32
"""Side in pixels at which pictures are judged that do not say it themselves, the mini's; below ``SMALLEST`` there is no CP."""


class SceneBenchmark:
    """Held-out composed scenes of a corpus; prompt i of seed s is drawn with seed s + i."""

    name = "scenes"
    title = "Scenes"
    columns: Mapping[str, str] = {"cp": "CP", "pf": "PF", "cp_pf": "CP x PF", "cp_over_pf": "CP / PF"}
    presets: Sequence[str] = ()
    hub = ""

    def __init__(self, corpus: Corpus, *, n: int = DEFAULT_N, seed: int = 0, size: int = SIZE) -> None:
        self.corpus, self.seed, self.size = corpus, seed, size
        self.test = corpus.split("test")
        self.samples: list[Sample] = evaluation_prompts(self.test, n, seed, size=size)
        if len({sample.references[0] for sample in self.samples}) < 2:  # the scale of CP is set by how subjects differ
            raise ValueError(
                f"-n: expected prompts with at least two different subjects, got {n}; ask for more of them"
            )

    def items(self, source: Source) -> list[Item]:
        """The prompts with their true pictures; the source is the corpus's folder, read already."""
        cutouts = catalog_of(self.test).cutouts
        return [
            Item(
                f"{number:04d}",
                sample.prompt,
                number,
                tuple(sample.prompt.images),
                sample.target,
                sample.prompt.text.splitlines()[-1],
                {
                    "kind": "two references" if len(sample.references) > 1 else sample.scene.kind,
                    "category": cutouts[sample.references[0]].category,
                },
            )
            for number, sample in enumerate(self.samples)
        ]

    def check(self, tools: Tools) -> None:
        """Nothing can be chosen."""

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        """Pictures of any size, judged at the benchmark's; what is missing is left out of the means and counted."""
        shown = [pictures[number] for number in range(len(items))]
        size, blank = (self.size, self.size), Image.new("RGB", (self.size, self.size))
        judged = [blank if picture is None else fitted(picture, size) for picture in shown]
        judge = Judge(Subjects(self.corpus, STLPIPS()), self.samples)
        numbers = [{"cp": score.cp, "pf": score.pf, **score.attributes} for score in judge.score(judged)]
        records = [
            Record(item.key, item.groups, {} if picture is None else each, "no picture" if picture is None else None)
            for item, picture, each in zip(items, shown, numbers, strict=True)
        ]
        there = [record.numbers for record in records if record.failure is None]
        if not there:
            raise ValueError("scenes: there is no picture to judge")
        summary: dict[str, Any] = {
            **summarise([each["cp"] for each in there], [each["pf"] for each in there], seed=tools.seed),
            "groups": record_means(records, ("cp", "pf"))["groups"],
        }
        return Scores(records, summary, _backbones(), [f"Means over {len(there)} of {len(records)} pictures."])

    def scores_of(self, items: Sequence[Item], results: dict[str, Any]) -> Scores:
        """The results of ``judge_scenes`` as those of any benchmark, the baselines and ceilings beside the model."""
        records = [Record(item.key, item.groups, each) for item, each in zip(items, results["items"], strict=True)]
        model = results["model"]
        summary = {name: model[name] for name in (*self.columns, "intervals")} | {
            "groups": record_means(records, ("cp", "pf"))["groups"]
        }
        others = [
            Row(label, {name: results[row][name] for name in self.columns}, "this run")
            for row, label in LABELS.items()
            if row in results and row != "model"
        ]
        return Scores(records, summary, _backbones(), scene_lines(results), others)


def _backbones() -> dict[str, str]:
    return {"CP": "ST-LPIPS (AlexNet-like trunk) and colour, packaged", "PF": "classical image processing, no network"}
