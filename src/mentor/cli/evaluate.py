"""``mentor evaluate``: score a model on a benchmark, print the table and write it with the pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mentor.cli.model_arguments import add_model_arguments, check_counts, load
from mentor.cli.progress import stage_progress


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    from mentor.evaluation.benchmarks import BENCHMARKS

    parser = subparsers.add_parser(
        "evaluate",
        help="score a model",
        description="Score a model on held-out prompts. A run that was stopped goes on where it was.",
    )
    parser.add_argument(
        "benchmark", choices=tuple(BENCHMARKS), help="scenes: composed scenes whose every fact is known"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the results and the pictures"
    )
    parser.add_argument("-n", type=int, default=240, metavar="N", help="number of prompts (default: %(default)s)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check the arguments, load, judge, print."""
    from rich.console import Console

    from mentor.evaluation.answers import check_folder
    from mentor.evaluation.benchmarks import BENCHMARKS, Run

    check_counts(args)
    check_folder(args.out)
    loaded = load(args)
    with stage_progress() as progress:
        summary = BENCHMARKS[args.benchmark](
            Run(loaded.painter, loaded.corpus, loaded.pack, args.out, args.n, args.seed, args.batch_size, progress)
        )
    Console(width=None if Console().is_terminal else 160).print(_table(summary.table))
    print("\n".join(summary.lines))
    return 0


def _table(rows: list[list[str]]) -> Any:
    from rich.box import SIMPLE
    from rich.table import Table

    header, *body = rows
    table = Table(box=SIMPLE)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left")
    for row in body:
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    return table
