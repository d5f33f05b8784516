"""``mentor evaluate``: score a model, a rival or ready pictures on a benchmark; compare two runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.cli.agreement import add_agreement_parser, agreement_rows
from mentor.cli.evaluation_arguments import add_evaluation_arguments, check_arguments
from mentor.cli.judge_arguments import add_judge_arguments, judge_settings
from mentor.cli.progress import stage_progress
from mentor.cli.sampling_arguments import chosen_sampling, load_painter
from mentor.cli.tokenizer_scores import add_tokenizer_parser, tokenizer_rows

if TYPE_CHECKING:
    from mentor.evaluation.processes import Processes
    from mentor.evaluation.protocol import Benchmark, Source

WRITTEN = ("run.json", "report.html", "report.md", "scenes.json", "scenes.md", "scenes.png")
"""What a person reads of a run; the scenes' own files are there for a model of this package."""


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments: one set a benchmark, ``compare`` and ``seeds``."""
    from mentor.evaluation.benchmarks import BENCHMARKS

    parser = subparsers.add_parser(
        "evaluate",
        help="score a model",
        description="Score a model, a rival or ready pictures. A run that was stopped goes on where it was.",
    )
    kinds = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, entry in BENCHMARKS.items():
        kind = kinds.add_parser(name, help=entry.help, description=entry.help)
        add_evaluation_arguments(kind, scenes=name == "scenes")
        if entry.judged:
            add_judge_arguments(kind)
    add_tokenizer_parser(kinds)
    add_agreement_parser(kinds)
    compare = kinds.add_parser("compare", help="two runs of one benchmark, item by item, with bootstrap intervals")
    compare.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="folder of a finished run")
    compare.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    seeds = kinds.add_parser("seeds", help="runs that differ in their seed: mean and standard deviation")
    seeds.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run")


def run(args: argparse.Namespace) -> int:
    """Check the arguments, load, paint, score, print."""
    if args.benchmark == "compare":
        return _compare(args)
    if args.benchmark == "seeds":
        return _seeds(args)
    if args.benchmark in ("tokenizer", "agreement"):
        _print(tokenizer_rows(args) if args.benchmark == "tokenizer" else agreement_rows(args))
        return 0
    from mentor.evaluation.pictures import check_folder
    from mentor.evaluation.processes import joined

    check_arguments(args)
    check_folder(args.out)
    with joined() as processes, stage_progress() as progress:
        if args.device is None and processes.count > 1:
            args.device = _own_device(processes.local_rank)
        run = _scenes(args, processes, progress) if args.benchmark == "scenes" else _any(args, processes, progress)
    if run is not None:
        from mentor.evaluation.tables import short_table, stand_ins

        _print(short_table(run))
        print("\n".join(line for line in (stand_ins(run), *run["notes"]) if line))
        written = [args.out / name for name in WRITTEN if (args.out / name).exists()]
        print(f"Written: {', '.join(map(str, written))}")
    return 0


def _any(args: argparse.Namespace, processes: Processes, progress: Any) -> dict[str, Any] | None:
    """Every benchmark but scenes; None in the processes that only paint."""
    from mentor.evaluation.benchmarks import chosen, find_benchmark, find_source

    benchmark = find_benchmark(args.benchmark)
    if args.preset is not None and args.preset not in benchmark.presets:
        raise ValueError(f"--preset: expected one of {', '.join(benchmark.presets) or 'none'}, got {args.preset!r}")
    source = find_source(benchmark, args.data, sample=args.sample)
    return _score(args, benchmark, chosen(benchmark.items(source), args.n), source, processes, progress)


def _score(
    args: argparse.Namespace,
    benchmark: Benchmark,
    items: Sequence[Any],
    source: Source,
    processes: Processes,
    progress: Any,
) -> dict[str, Any] | None:
    from mentor.evaluation.pictures import PictureStore
    from mentor.evaluation.ready_made import find_pictures
    from mentor.evaluation.results import check_same
    from mentor.evaluation.run import Author, evaluate, identity, paint

    tools = _tools(args, source, progress)
    benchmark.check(tools)  # before minutes or hours of painting, as what follows
    if args.pictures is not None:
        author = Author(args.pictures.resolve().name, settings={"folder": str(args.pictures.resolve())})
        check_same(args.out, identity(benchmark, items, author, tools))
        pictures = find_pictures(args.pictures, items)
    else:
        painter_of, author = _painters(args)
        check_same(args.out, identity(benchmark, items, author, tools))
        store = PictureStore(args.out, args.batch_size, processes)
        pictures = paint(items, painter_of, store, args.seed, progress)
        del painter_of  # the judge or detector needs its memory
        _free_memory()
    return evaluate(benchmark, items, pictures, author, tools, args.out) if processes.main else None


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _painters(args: argparse.Namespace) -> tuple[Any, Any]:
    """Who paints each item, and how the report names it."""
    from mentor.evaluation.baselines import CopyReference, IgnoreReference
    from mentor.evaluation.run import Author

    if args.rival is not None:
        from dataclasses import asdict

        from mentor.evaluation.rival_settings import find_rival

        settings = find_rival(args.rival, args.rival_set)
        from mentor.evaluation.rivals import Rival

        rival = Rival(settings, device=_device(args), dtype=args.dtype)
        return rival.painter, Author(rival.name, rival.weights, asdict(settings) | {"library": rival.library})
    if args.baseline == "copy_reference":
        copy = CopyReference()
        return lambda item: copy, Author(copy.name, copy.fingerprint)
    model = load_painter(args)
    painter = IgnoreReference(model) if args.baseline == "ignore_reference" else model
    return lambda item: painter, Author(painter.name, painter.fingerprint, vars(model.settings))


def _scenes(args: argparse.Namespace, processes: Processes, progress: Any) -> dict[str, Any] | None:
    """The scenes, whose data is the corpus; a model of this package also gets its baselines, ceilings and tasks."""
    from mentor.data.corpus import Corpus, find_pack
    from mentor.evaluation.protocol import Source
    from mentor.evaluation.scene_benchmark import DEFAULT_N, SAMPLE_N, SIZE, SMALLEST, SceneBenchmark

    chosen_sampling(args)  # a mistake is told before the corpus is read
    if args.size is not None and args.size < SMALLEST:
        raise ValueError(f"--size: expected {SMALLEST} pixels or more, got {args.size}")
    pack = find_pack(args.corpus)
    corpus, n = Corpus.load(pack), args.n or (SAMPLE_N if args.sample else DEFAULT_N)
    source = Source(pack, sample=args.sample)
    if args.pictures or args.rival or args.baseline:
        benchmark = SceneBenchmark(corpus, n=n, seed=args.seed, size=args.size or SIZE)
        return _score(args, benchmark, benchmark.items(source), source, processes, progress)
    from mentor.evaluation.pictures import PictureStore
    from mentor.evaluation.scene_report import evaluate_model

    painter = load_painter(args)
    if args.size not in (None, painter.size):
        raise ValueError(
            f"--size: {painter.name} is judged at its own {painter.size} px; give its pictures with --pictures"
        )
    benchmark = SceneBenchmark(corpus, n=n, seed=args.seed, size=painter.size)
    store = PictureStore(args.out, args.batch_size, processes)
    return evaluate_model(benchmark, painter, store, _tools(args, source, progress))


def _tools(args: argparse.Namespace, source: Source, progress: Any) -> Any:
    from mentor.evaluation.protocol import JudgeSettings, Tools

    backbones = dict(pair.split("=", 1) for pair in args.backbone if "=" in pair)
    if len(backbones) != len(args.backbone):
        raise ValueError(f"--backbone: expected ROLE=NAME, each role once, got {' '.join(args.backbone)}")
    cache = args.cache or args.out / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    judge = judge_settings(args) if hasattr(args, "judge_url") else JudgeSettings()
    return Tools(source, cache, _device(args), args.preset, backbones, judge, args.batch_size, args.seed, progress)


def _device(args: argparse.Namespace) -> str:
    from mentor.nn.device import resolve_device

    return str(resolve_device(args.device))


def _own_device(local_rank: int) -> str | None:
    """The GPU of this process where the machine has one for each; None lets the model choose."""
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{local_rank % count}" if count else None


def _compare(args: argparse.Namespace) -> int:
    from mentor.evaluation.compare import compare, table
    from mentor.evaluation.results import read_run

    first, second = (read_run(folder) for folder in args.runs)
    found = compare(first, second, seed=args.seed)
    _print(table(found, first, second))
    print(
        "\n".join(
            [*found.notes, "* the 95 % interval of the difference (paired bootstrap over items) does not hold 0."]
        )
    )
    return 0


def _seeds(args: argparse.Namespace) -> int:
    from mentor.evaluation.results import read_run
    from mentor.evaluation.seeds import over_seeds, seeds_table

    runs = [read_run(folder) for folder in args.runs]
    _print(seeds_table(over_seeds(runs), runs))
    return 0


def _print(rows: list[list[str]]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    header, *body = rows
    table = Table(box=SIMPLE)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in body:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    width = None if Console().is_terminal else int(os.environ.get("COLUMNS", "160"))
    Console(width=width).print(table)
