"""One evaluation from items to files: paint what is missing, score, write run.json, items.jsonl and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mentor.evaluation.page import write_page
from mentor.evaluation.pictures import Painter, Pictures, PictureStore
from mentor.evaluation.protocol import Benchmark, Item, Progress, Scores, Source, Tools
from mentor.evaluation.results import commit, provenance, with_failures, write_run
from mentor.evaluation.tables import markdown_report
from mentor.files import write_text

PainterOf = Callable[[Item], Painter]
"""The painter of an item; the same for all, except with weights tuned on each subject."""


@dataclass(frozen=True)
class Author:
    """Who made the pictures, for the report."""

    name: str
    fingerprint: str = ""
    """Empty for pictures from a folder."""
    settings: Mapping[str, Any] = field(default_factory=dict)


def identity(benchmark: Benchmark, items: Sequence[Item], author: Author, tools: Tools) -> dict[str, Any]:
    """What a run's numbers depend on, as run.json keeps it: whose pictures, of what, scored how."""
    judge = tools.judge
    return {
        "benchmark": benchmark.name,
        "name": author.name,
        "fingerprint": author.fingerprint,
        "settings": dict(author.settings),
        "seed": tools.seed,
        "items": len(items),
        "scoring": {
            "data": tools.source.folder.name if tools.source.sample else str(tools.source.folder),
            "preset": tools.preset,
            "backbones": dict(tools.backbones),
            "judge": judge.described() if judge.url else None,
        },
    }


def paint(
    items: Sequence[Item], painter_of: PainterOf, store: PictureStore, seed: int, progress: Progress | None = None
) -> Pictures:
    """The items' pictures, made where they are missing; item i is drawn with its own seed plus ``seed``.

    A prompt that its painter refuses is a failure of that item. Raises ``ValueError`` when all are refused.
    """
    painters: dict[str, Painter] = {}
    shares: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        painter = painter_of(item)
        painters.setdefault(painter.fingerprint, painter)
        shares.setdefault(painter.fingerprint, []).append(number)
    paths: list[Path | None] = [None] * len(items)
    failures: dict[int, str] = {}
    for fingerprint, numbers in shares.items():
        made, refused = store.files(
            painters[fingerprint],
            [items[number].prompt for number in numbers],
            [items[number].seed + seed for number in numbers],
            progress=progress,
        )
        for place, number in enumerate(numbers):
            if place in refused:
                failures[number] = refused[place]
            else:
                paths[number] = made[place]
    if len(failures) == len(items):
        raise ValueError(f"not one of the {len(items)} prompts could be drawn; the first: {failures[min(failures)]}")
    return Pictures(paths, failures)


def evaluate(
    benchmark: Benchmark, items: Sequence[Item], pictures: Pictures, author: Author, tools: Tools, folder: Path
) -> dict[str, Any]:
    """Score the pictures and write everything; returns what run.json holds."""
    return finish(benchmark, items, pictures, benchmark.score(items, pictures, tools), author, tools, folder)


def finish(
    benchmark: Benchmark,
    items: Sequence[Item],
    pictures: Pictures,
    scores: Scores,
    author: Author,
    tools: Tools,
    folder: Path,
) -> dict[str, Any]:
    """Write run.json, items.jsonl, report.md and report.html of finished scores; returns what run.json holds."""
    records = with_failures(scores.records, pictures)
    run: dict[str, Any] = {
        **identity(benchmark, items, author, tools),
        "title": benchmark.title,
        "seeds": sorted({item.seed + tools.seed for item in (items[0], items[-1])}),
        "failures": sum(record.failure is not None for record in records),
        "data": _data(tools.source),
        "preset": scores.summary.get("preset", tools.preset or next(iter(benchmark.presets), None)),
        "backbones": scores.backbones,
        "columns": dict(benchmark.columns),
        "summary": scores.summary,
        "notes": scores.notes,
        "published": [asdict(row) for row in scores.published],
        "commit": commit(),
        "versions": provenance(),
    }
    write_run(folder, run, items, records, pictures)
    write_text(folder / "report.md", markdown_report(run, records))
    write_page(folder / "report.html", run, items, records, pictures)
    return run


def _data(source: Source) -> dict[str, Any]:
    name = source.folder.name if source.sample else str(source.folder)
    return {"folder": name, "sample": source.sample, "sha256": source.checksum()}
