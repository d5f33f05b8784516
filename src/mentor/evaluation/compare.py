"""Two runs of one benchmark, item by item: which is better, and whether the difference is more than chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mentor.evaluation.results import SavedRun
from mentor.evaluation.statistics import bootstrap
from mentor.evaluation.tables import number, shown_columns

PRODUCTS: Mapping[str, Callable[..., np.ndarray]] = {
    "cp_pf": lambda cp, pf: cp * pf,
    "cp_over_pf": lambda cp, pf: cp / np.maximum(pf, 1e-9),
}
"""Headline numbers that are made of two means."""


@dataclass(frozen=True)
class Difference:
    """One number of both runs over the items that both have it for; ``interval`` is the 95 % one of b - a."""

    name: str
    a: float
    b: float
    interval: tuple[float, float]
    items: int


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
    ours, theirs = ({(line["key"], line["item"]): line["numbers"] for line in run.items} for run in (a, b))
    common = [key for key in ours if key in theirs]
    if not common:
        raise ValueError(
            f"cannot compare {a.folder} and {b.folder}: they have no item in common (of {len(ours)} and {len(theirs)}); "
            "evaluate both on the same data"
        )
    pairs = [(ours[key], theirs[key]) for key in common]
    differences = []
    for name in a.run["columns"]:
        parts = ("cp", "pf") if name in PRODUCTS else (name,)
        of = PRODUCTS.get(name, lambda value: value)
        both = [pair for pair in pairs if all(part in numbers for part in parts for numbers in pair)]
        if both:
            differences.append(_difference(name, parts, of, both, seed))
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
    name: str,
    parts: Sequence[str],
    of: Callable[..., np.ndarray],
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    seed: int,
) -> Difference:
    columns = [[pair[side][part] for pair in pairs] for side in (0, 1) for part in parts]
    half = len(parts)
    interval = bootstrap(columns, lambda *means: of(*means[half:]) - of(*means[:half]), seed=seed)
    means = [np.mean(column) for column in columns]
    return Difference(name, float(of(*means[:half])), float(of(*means[half:])), interval, len(pairs))


def _notes(a: SavedRun, b: SavedRun, common: Sequence[tuple[str, str]], found: Sequence[Difference]) -> list[str]:
    notes = []
    if not len(common) == len(a.items) == len(b.items):
        notes.append(f"Compared on the {len(common)} common items (A has {len(a.items)}, B has {len(b.items)}).")
    for letter, run in (("A", a), ("B", b)):
        if run.run["failures"]:
            notes.append(f"{letter}: {run.run['failures']} items have no score and are left out here.")
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
