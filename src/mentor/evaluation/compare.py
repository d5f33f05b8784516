"""Two runs of one benchmark, item by item: which is better, and whether the difference is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mentor.evaluation.geneval_rules import TASKS
from mentor.evaluation.results import SavedRun
from mentor.evaluation.statistics import CP_PF, bootstrap, cluster_of, mean_of_all
from mentor.evaluation.tables import number, shown_columns

MADE_OF: Mapping[str, tuple[Sequence[str], Callable[..., np.ndarray]]] = {
    "cp_pf": (("cp", "pf"), CP_PF["cp_pf"]),
    "cp_over_pf": (("cp", "pf"), CP_PF["cp_over_pf"]),
    "overall": (TASKS, mean_of_all),
}
"""Headline numbers that are made of several means."""


@dataclass(frozen=True)
class Difference:
    """One number of both runs over the items that both have it for; ``interval`` is the 95 % one of b - a.

    Whole references, subjects or prompts are resampled (``cluster_of``).
    """

    name: str
    a: float
    b: float
    interval: tuple[float, float]
    items: int


@dataclass(frozen=True)
class Pair:
    """The numbers that both runs have for one item."""

    cluster: str
    a: Mapping[str, float]
    b: Mapping[str, float]

    def both(self, part: str) -> bool:
        """Whether both runs have a number of this name."""
        return part in self.a and part in self.b


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` finds."""

    differences: list[Difference]
    common: int
    """Items that are in both runs, with or without numbers."""
    notes: list[str]


def compare(a: SavedRun, b: SavedRun, *, seed: int = 0) -> Comparison:
    """Paired bootstrap over the items that both runs hold: the same key, prompt, references and target.

    Raises ``ValueError`` for runs of different benchmarks, presets or backbones, and for runs without a common item.
    """
    for what in ("benchmark", "preset", "backbones"):
        if a.run[what] != b.run[what]:
            raise ValueError(
                f"cannot compare {a.folder} and {b.folder}: {what} differ ({_told(a.run[what])}; {_told(b.run[what])})"
            )
    ours, theirs = ({(line["key"], line["item"]): line for line in run.items} for run in (a, b))
    common = [key for key in ours if key in theirs]
    if not common:
        raise ValueError(
            f"cannot compare {a.folder} and {b.folder}: they have no item in common (of {len(ours)} and {len(theirs)}); "
            "evaluate both on the same data"
        )
    pairs = [
        Pair(cluster_of(key[0], ours[key].get("groups", ())), ours[key]["numbers"], theirs[key]["numbers"])
        for key in common
    ]
    differences = []
    for name in a.run["columns"]:
        parts, of = MADE_OF.get(name, ((name,), lambda value: value))
        held = [part for part in parts if any(pair.both(part) for pair in pairs)]
        if held and (len(held) == len(parts) or of is mean_of_all):
            differences.append(_difference(name, held, of, pairs, seed))
    return Comparison(differences, len(common), _notes(a, b, common, differences))


def table(comparison: Comparison, a: SavedRun, b: SavedRun) -> list[list[str]]:
    """Header and rows; a star marks a difference whose interval does not hold zero."""
    rows = [["", f"A: {a.run['name']}", f"B: {b.run['name']}", "B - A", "95 % interval", "items"]]
    for each in comparison.differences:
        low, high = each.interval
        star = " *" if low > 0 or high < 0 else ""
        heading = a.run["columns"].get(each.name, each.name)
        interval = f"[{low:+.3f}, {high:+.3f}]{star}"
        rows.append([heading, number(each.a), number(each.b), f"{each.b - each.a:+.3f}", interval, str(each.items)])
    return rows


def _difference(
    name: str, parts: Sequence[str], of: Callable[..., np.ndarray], pairs: Sequence[Pair], seed: int
) -> Difference:
    """Over the items for which both runs have any of the parts."""
    pairs = [pair for pair in pairs if any(pair.both(part) for part in parts)]
    columns = [
        [(pair.b if second else pair.a)[part] if pair.both(part) else np.nan for pair in pairs]
        for second in (False, True)
        for part in parts
    ]
    half, clusters = len(parts), [pair.cluster for pair in pairs]
    interval = bootstrap(columns, lambda *means: of(*means[half:]) - of(*means[:half]), clusters=clusters, seed=seed)
    means = [np.nanmean(column) for column in columns]
    return Difference(name, float(of(*means[:half])), float(of(*means[half:])), interval, len(pairs))


def _notes(a: SavedRun, b: SavedRun, common: Sequence[tuple[str, str]], found: Sequence[Difference]) -> list[str]:
    notes = []
    if not len(common) == len(a.items) == len(b.items):
        notes.append(f"Compared on the {len(common)} common items (A has {len(a.items)}, B has {len(b.items)}).")
    shared = set(common)
    for letter, run in (("A", a), ("B", b)):
        left = sum(not line["numbers"] for line in run.items if (line["key"], line["item"]) in shared)
        if left:
            notes.append(f"{letter}: {left} items have no score and are left out here.")
    compared = {each.name for each in found}
    whole = [name for name in shown_columns(a.run) if name not in compared and name in shown_columns(b.run)]
    for name in whole:
        one, two = number(a.run["summary"][name]), number(b.run["summary"][name])
        notes.append(
            f"{a.run['columns'][name]}: A {one}, B {two}; not a mean over these items, so without an interval."
        )
    return notes


def _told(value: object) -> str:
    return ", ".join(f"{role} {name}" for role, name in value.items()) if isinstance(value, dict) else str(value)
