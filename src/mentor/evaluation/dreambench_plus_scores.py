"""The judge's verdicts of DreamBench++ as tables: scores by pass and item, records, means by category, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor.evaluation.dreambench_plus_data import CATEGORIES, PROMPT_TYPES
from mentor.evaluation.panel import BEST, Verdict
from mentor.evaluation.protocol import Item, Record
from mentor.evaluation.statistics import CP_PF, bootstrap, cluster_of

TYPES = tuple(dict.fromkeys(PROMPT_TYPES))
_NO_PICTURE = "there is no picture"

Sheet = NDArray[np.float64]
"""Scores / 4 of every judge's pass and item, [passes, items]; NaN where there is none."""


def score_sheets(
    items: Sequence[Item], places: Sequence[tuple[int, int]], verdicts: Sequence[Verdict], passes: int
) -> tuple[Sheet, Sheet, list[list[str]]]:
    """CP and PF, and for every item the reasons of what is missing; ``places``: (0 CP or 1 PF, item) of each verdict."""
    sheets = np.full((2, passes, len(items)), np.nan)
    reasons: list[list[str]] = [[] for _ in items]
    per_pass = len(places) // passes
    for index, ((kind, item), verdict) in enumerate(zip(places, verdicts, strict=True)):
        if verdict.score is None:
            reasons[item].append(f"{'PF' if kind else 'CP'}: {verdict.failure}")
        else:
            sheets[kind, index // per_pass, item] = verdict.score / BEST
    judged = {item for _, item in places}
    for number in range(len(items)):
        if number not in judged:
            reasons[number].append(_NO_PICTURE)
    return sheets[0], sheets[1], reasons


def _filled(sheet: Sheet, counted: bool) -> Sheet:
    return np.nan_to_num(sheet, nan=0.0) if counted else sheet


def item_records(
    items: Sequence[Item], cp: Sheet, pf: Sheet, reasons: Sequence[list[str]], counted: bool
) -> list[Record]:
    """An item's number is its mean over the passes; one without any score has a failure and, when counted, zeros."""
    records = []
    for number, item in enumerate(items):
        numbers: dict[str, float] = {}
        for name, sheet in (("cp", cp), ("pf", pf)):
            values = _filled(sheet, counted)[:, number]
            if not np.isnan(values).all():
                numbers[name] = float(np.nanmean(values))
            for index, value in enumerate(sheet[:, number]):
                if not np.isnan(value):
                    numbers[f"{name}_pass_{index + 1}"] = float(value)
        # Under the columns' own names too, so that two runs can be compared column by column.
        mine = {name: "cp" for name in CATEGORIES if _in_category(item, name, counted)}
        mine[item.groups["prompt_type"]] = "pf"
        numbers |= {column: numbers[name] for column, name in mine.items() if name in numbers}
        failed = "; ".join(dict.fromkeys(reasons[number])) or None
        records.append(Record(item.key, dict(item.groups), numbers, failed))
    return records


def summarise(items: Sequence[Item], cp: Sheet, pf: Sheet, counted: bool, seed: int) -> dict[str, Any]:
    """The benchmark's columns, with denominators, means and deviation over the passes, 95 % intervals and groups.

    ``counted``: what has no score is 0, else it is left out. Raises ``ValueError`` when CP or PF has no score in some pass.
    """
    belongs = {
        **{name: (cp, [_in_category(item, name, counted) for item in items]) for name in CATEGORIES},
        "cp": (cp, [True] * len(items)),
        **{name: (pf, [item.groups["prompt_type"] == name for item in items]) for name in TYPES},
        "pf": (pf, [True] * len(items)),
    }
    summary: dict[str, Any] = {"std": {}, "denominators": {}, "passes": {}}
    for name, (sheet, mask) in belongs.items():
        part = _filled(sheet[:, np.array(mask, dtype=bool)], counted)
        held = (~np.isnan(part)).sum(axis=1)
        if part.size and held.all():
            means = np.nansum(part, axis=1) / held
            summary[name] = float(means.mean())
            summary["passes"][name] = means.tolist()
            summary["denominators"][name] = held.tolist()
            if len(means) > 1:
                summary["std"][name] = float(means.std(ddof=1))
    if "cp" not in summary or "pf" not in summary:
        raise ValueError("nothing could be scored: there is no picture with a valid score in every pass of the judge")
    summary["cp_pf"] = summary["cp"] * summary["pf"]
    if summary["pf"] > 0:
        summary["cp_over_pf"] = summary["cp"] / summary["pf"]
    summary["intervals"] = _intervals(items, _filled(cp, counted), _filled(pf, counted), seed)
    summary["groups"] = {
        kind: {
            name: _group(items, cp, pf, counted, kind, name) for name in dict.fromkeys(i.groups[kind] for i in items)
        }
        for kind in ("category", "prompt_type")
    }
    return summary


def _in_category(item: Item, category: str, exact: bool) -> bool:
    # The official filter looks for the word anywhere in the id: "style_03_animal_print" is an animal too.
    return item.groups["category"] == category if exact else category in item.key.split("/")[0]


def _group(items: Sequence[Item], cp: Sheet, pf: Sheet, counted: bool, kind: str, name: str) -> dict[str, float]:
    mask = np.array([item.groups[kind] == name for item in items])
    parts = {"cp": _filled(cp[:, mask], counted), "pf": _filled(pf[:, mask], counted)}
    means = {key: float(np.nanmean(part)) for key, part in parts.items() if not np.isnan(part).all()}
    return {"items": int(mask.sum()), **means}


def _intervals(items: Sequence[Item], cp: Sheet, pf: Sheet, seed: int) -> dict[str, list[float]]:
    """95 % over the references of items that have both scores; the judge's own scatter between passes is ``std``."""
    both = np.flatnonzero(~(np.isnan(cp).all(axis=0) | np.isnan(pf).all(axis=0)))
    if not len(both):
        return {}
    columns = [np.nanmean(sheet[:, both], axis=0).tolist() for sheet in (cp, pf)]
    clusters = [cluster_of(items[number].key) for number in both.tolist()]
    return {name: list(bootstrap(columns, of, clusters=clusters, seed=seed)) for name, of in CP_PF.items()}
