"""The benchmarks that ``mentor evaluate`` knows, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.evaluation.answers import AnswerStore, PipelinePainter, Progress
from mentor.evaluation.report import (
    provenance,
    scene_lines,
    scene_table,
    sha256_of,
    write_json,
    write_scene_report,
)

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus


@dataclass(frozen=True)
class Run:
    """What every benchmark is given."""

    painter: PipelinePainter
    corpus: Corpus
    pack: Path
    """The corpus's folder."""
    folder: Path
    n: int
    seed: int
    batch_size: int
    progress: Progress | None = None


@dataclass(frozen=True)
class Summary:
    """What is printed: a table (header first) and lines below it."""

    table: list[list[str]]
    lines: list[str]


def scenes(run: Run) -> Summary:
    """Held-out composed scenes: writes scenes.json, report.md and scenes.png into the folder."""
    from mentor.data.held_out import evaluation_prompts
    from mentor.evaluation.scenes import evaluate_scenes
    from mentor.models.perceptual import STLPIPS

    painter = run.painter
    store = AnswerStore(run.folder, run.batch_size)
    results, answers = evaluate_scenes(
        painter, run.corpus, store, STLPIPS(), n=run.n, seed=run.seed, recode=painter.recode, progress=run.progress
    )
    described: dict[str, Any] = {
        "benchmark": "scenes",
        "name": painter.name,
        "fingerprint": painter.fingerprint,
        "picture_size": painter.size,
        "settings": vars(painter.settings),
        "corpus_manifest_sha256": sha256_of(run.pack / "manifest.json"),
        "versions": provenance(),
        **results,
    }
    samples = evaluation_prompts(run.corpus.split("test"), min(run.n, 24), run.seed, size=painter.size)
    write_json(run.folder / "scenes.json", described)
    page = write_scene_report(run.folder, described, samples, answers)
    return Summary(scene_table(described), [*scene_lines(described), f"Written: {run.folder / 'scenes.json'}, {page}"])


BENCHMARKS: dict[str, Callable[[Run], Summary]] = {"scenes": scenes}
