"""Means of records' numbers, over all and by group, with bootstrap intervals: what most benchmarks report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mentor.evaluation.protocol import Record
from mentor.evaluation.statistics import RESAMPLES, bootstrap, cluster_of

DRAWS = 4_000_000
"""At most so many rows are drawn for an interval: fewer resamples for very many records."""


def record_means(records: Sequence[Record], names: Iterable[str], *, seed: int = 0) -> dict[str, Any]:
    """A summary: the mean of every name over the records that have it, ``intervals``, ``groups``, and how many there are.

    ``scored`` counts the records with numbers, which are the denominator, ``failed`` the others. A name that no record
    has is left out. Raises ``ValueError`` when nothing was scored.
    """
    scored = [record for record in records if record.failure is None]
    if not scored:
        reasons = sorted({record.failure or "" for record in records})
        raise ValueError(f"nothing could be scored: {'; '.join(reasons) or 'there are no items'}")
    summary: dict[str, Any] = {"scored": len(scored), "failed": len(records) - len(scored), "intervals": {}}
    for name in names:
        values = _values(scored, name)
        if values:
            summary[name] = float(np.mean(values))
            clusters = [cluster_of(record.key, record.groups) for record in scored if name in record.numbers]
            resamples = max(100, min(RESAMPLES, DRAWS // len(values)))
            interval = bootstrap([values], lambda mean: mean, clusters=clusters, seed=seed, resamples=resamples)
            summary["intervals"][name] = list(interval)
    grouped: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in scored:
        for kind, group in record.groups.items():
            grouped[kind][group].append(record)
    summary["groups"] = {
        kind: {group: _group(members, names) for group, members in groups.items()} for kind, groups in grouped.items()
    }
    return summary


def _group(records: Sequence[Record], names: Iterable[str]) -> dict[str, float]:
    held = {name: _values(records, name) for name in names}
    return {"items": len(records), **{name: float(np.mean(values)) for name, values in held.items() if values}}


def _values(records: Sequence[Record], name: str) -> list[float]:
    return [record.numbers[name] for record in records if name in record.numbers]
