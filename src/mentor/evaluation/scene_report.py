"""What the scene benchmark writes for a model of this package beside the files of every run: scenes.json, .md and .png."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mentor.evaluation.pictures import Pictures, PictureStore, PipelinePainter
from mentor.evaluation.protocol import Tools
from mentor.evaluation.results import check_same, provenance, write_json
from mentor.evaluation.run import Author, finish, identity
from mentor.evaluation.scene_benchmark import SceneBenchmark
from mentor.evaluation.scene_tables import FIRST, sha256_of, write_scene_report
from mentor.evaluation.scenes import draw_scenes, judge_scenes
from mentor.models.perceptual import STLPIPS


def evaluate_model(
    benchmark: SceneBenchmark,
    painter: PipelinePainter,
    store: PictureStore,
    tools: Tools,
) -> dict[str, Any] | None:
    """Paint, judge and write everything; returns what run.json holds, None in the processes that only paint."""
    author = Author(painter.name, painter.fingerprint, asdict(painter.settings))
    items, samples = benchmark.items(tools.source), benchmark.samples
    check_same(store.folder, identity(benchmark, items, author, tools))
    prompts, seeds = [item.prompt for item in items], [item.seed + benchmark.seed for item in items]
    drawn = draw_scenes(painter, benchmark.test, samples, store, seed=benchmark.seed, progress=tools.progress)
    if not store.processes.main:
        return None
    results, answers = judge_scenes(
        drawn, benchmark.corpus, samples, STLPIPS(), seed=benchmark.seed, recode=painter.recode
    )
    scores = benchmark.scores_of(items, results)
    described = {
        "benchmark": "scenes",
        "name": painter.name,
        "fingerprint": painter.fingerprint,
        "picture_size": painter.size,
        "settings": vars(painter.settings),
        "corpus_manifest_sha256": sha256_of(tools.source.folder / "manifest.json"),
        "versions": provenance(),
        **{name: value for name, value in results.items() if name != "items"},
    }
    pictures = Pictures(store.paths(painter, prompts, seeds))
    run = finish(benchmark, items, pictures, scores, author, tools, store.folder)
    write_json(store.folder / "scenes.json", described)
    write_scene_report(store.folder, described, samples[:FIRST], answers)
    return run
