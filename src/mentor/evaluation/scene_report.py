"""What the scene benchmark writes for a model of this package beside the files of every run: scenes.json and scenes.png."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mentor.evaluation.answers import AnswerStore, Pictures, PipelinePainter
from mentor.evaluation.protocol import Tools
from mentor.evaluation.report import FIRST, provenance, sha256_of, write_json, write_scene_report
from mentor.evaluation.run import Author, check_author, finish
from mentor.evaluation.scene_benchmark import SceneBenchmark


def evaluate_model(
    benchmark: SceneBenchmark,
    painter: PipelinePainter,
    store: AnswerStore,
    tools: Tools,
) -> dict[str, Any] | None:
    """Paint, judge and write everything; returns what run.json holds, None in the processes that only paint."""
    author = Author(painter.name, painter.fingerprint, asdict(painter.settings))
    check_author(store.folder, benchmark, author)
    items = benchmark.items(tools.source)
    prompts, seeds = [item.prompt for item in items], [item.seed + benchmark.seed for item in items]
    paths, _ = store.files(painter, prompts, seeds, what="model", progress=tools.progress)
    scores, results, answers = benchmark.score_model(painter, store, items, tools.progress)
    if not store.processes.main:
        return None
    folder = store.folder
    described = {
        "benchmark": "scenes",
        "name": painter.name,
        "fingerprint": painter.fingerprint,
        "picture_size": painter.size,
        "settings": vars(painter.settings),
        "corpus_manifest_sha256": sha256_of(tools.source.folder / "manifest.json"),
        "versions": provenance(),
        **results,
    }
    run = finish(benchmark, items, Pictures(paths), scores, author, tools, folder)
    write_json(folder / "scenes.json", described)
    write_scene_report(folder, described, benchmark.samples[:FIRST], answers)
    return run
