"""Several runs that differ in their seed alone as one result: mean and standard deviation of every headline number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mentor.evaluation.results import SavedRun
from mentor.evaluation.tables import number, shown_columns

_SAME = ("benchmark", "preset", "backbones", "settings", "items")


@dataclass(frozen=True)
class OverSeeds:
    """One headline number over the runs; ``deviation`` divides by one less than their number."""

    name: str
    heading: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        return float(np.std(self.values, ddof=1))


def over_seeds(runs: Sequence[SavedRun]) -> list[OverSeeds]:
    """The numbers that all runs have.

    Raises ``ValueError`` for fewer than two runs, runs that differ in more than seed and weights, other items, and seeds under
    which runs of one model hold the same pictures.
    """
    if len(runs) < 2:
        raise ValueError(f"expected two runs or more, got {len(runs)}")
    first = runs[0]
    asked = {(line["key"], line["item"]) for line in first.items}
    for other in runs[1:]:
        for what in _SAME:
            if first.run[what] != other.run[what]:
                raise ValueError(
                    f"{first.folder} and {other.folder} differ in more than their seed: {what} ({first.run[what]}; "
                    f"{other.run[what]})"
                )
        if asked != {(line["key"], line["item"]) for line in other.items}:
            raise ValueError(f"{first.folder} and {other.folder} were asked different things")
    for one, other in combinations(runs, 2):
        _check_seeds(one, other)
    shown = {**shown_columns(first.run)}
    for run in runs[1:]:
        shown = {name: heading for name, heading in shown.items() if name in shown_columns(run.run)}
    return [
        OverSeeds(name, heading, tuple(run.run["summary"][name] for run in runs)) for name, heading in shown.items()
    ]


def seeds_table(found: Sequence[OverSeeds], runs: Sequence[SavedRun]) -> list[list[str]]:
    """Header and a line for each number."""
    names = [f"seed {run.run['seed']}" for run in runs]
    rows = [
        [each.heading, f"{number(each.mean)} ± {number(each.deviation)}", *(number(value) for value in each.values)]
        for each in found
    ]
    return [["", f"{runs[0].run['name']}, mean ± deviation of {len(runs)}", *names], *rows]


def _check_seeds(one: SavedRun, other: SavedRun) -> None:
    """Where several items share a prompt, and their seeds count from the run's, near seeds give the same pictures again."""
    if one.run["fingerprint"] != other.run["fingerprint"]:
        return  # weights trained with other seeds
    (low, high), (least, most) = ((min(seeds), max(seeds)) for seeds in (one.run["seeds"], other.run["seeds"]))
    shared = high - low + 1 < len(one.items) and low <= most and least <= high
    if one.run["seed"] == other.run["seed"] or shared:
        raise ValueError(
            f"{one.folder} (seed {one.run['seed']}) and {other.folder} (seed {other.run['seed']}) hold the same pictures in "
            "part: choose seeds that are further apart, such as 0, 10000 and 20000"
        )
