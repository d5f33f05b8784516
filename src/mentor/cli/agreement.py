"""``mentor evaluate agreement``: how far a judge's ratings agree with people's, in DreamBench++'s files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_agreement_parser(kinds: Any) -> None:
    """Declare the command among the benchmarks."""
    parser = kinds.add_parser("agreement", help="a judge's ratings against people's: Krippendorff's alpha, Pearson's r")
    parser.add_argument(
        "--human", type=Path, required=True, metavar="DIR", help="data_human_rating/raw_data or .../merged_data"
    )
    parser.add_argument(
        "--judge", type=Path, required=True, metavar="DIR", help="data_gpt_rating, or a finished run of dreambench_plus"
    )
    parser.add_argument("--method", required=True, metavar="NAME", help="as in the files' names, for example emu2")


def agreement_rows(args: argparse.Namespace) -> list[list[str]]:
    """The table to print, header first; a statistic that these files do not give is a dash."""
    from mentor.evaluation.agreement import agreement, read_human, read_judge

    found = agreement(read_human(args.human, args.method), read_judge(args.judge, args.method))
    rows = [["", "pictures", "alpha people", "alpha judge", "r people", "r judge"]]
    for aspect, numbers in found.items():
        rows.append(
            [
                aspect.upper(),
                str(numbers["pictures"]),
                _told(numbers["alpha_human"]),
                _told(numbers["alpha_judge"], numbers["alpha_judge_std"]),
                _told(numbers["pearson_human"]),
                _told(numbers["pearson_judge"], numbers["pearson_judge_half_range"]),
            ]
        )
    return rows


def _told(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"
