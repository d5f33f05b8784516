"""Means with honest error bars: the bootstrap that every number of a report carries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000
CP_PF: Mapping[str, Callable[..., Any]] = {
    "cp": lambda cp, pf: cp,
    "pf": lambda cp, pf: pf,
    "cp_pf": lambda cp, pf: cp * pf,
    "cp_over_pf": lambda cp, pf: cp / np.maximum(pf, 1e-9),
}
"""The headline numbers made of mean concept preservation and mean prompt following (paper 3.1)."""


def cluster_of(key: str, groups: Collection[str] = ()) -> str:
    """What an item belongs to by its key, ``CLUSTER/...``: a reference, a subject or a prompt; itself where it is alone.

    ``groups``: kinds of group that it is in. A ``folder`` is no cluster: its pictures have nothing else in common.
    """
    return key if "folder" in groups else key.partition("/")[0]


def bootstrap(
    columns: Sequence[Sequence[float]],
    statistic: Callable[..., np.ndarray],
    *,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of column means, by resampling rows together.

    ``columns`` are equally long lists of scores, NaN where a row has none; ``statistic`` receives one array of resampled means
    ([resamples]) for each column and returns [resamples]. Efron 1979; the rows are kept together, so that a product of
    two means keeps their dependence. ``clusters`` names what each row belongs to (None: every row stands alone): whole
    clusters are drawn, because pictures of one reference are alike and not independent evidence (Davison and Hinkley 1997,
    3.8). Raises ``ValueError`` when there is no row or the lengths differ.
    """
    table = _table(columns)
    order: dict[object, int] = {}
    place = [order.setdefault(name, len(order)) for name in (range(table.shape[1]) if clusters is None else clusters)]
    picks = np.random.default_rng(seed).integers(0, len(order), size=(resamples, len(order)))
    means = []
    for column in table:
        held = ~np.isnan(column)
        sums = np.bincount(place, np.where(held, column, 0.0), len(order))
        counts = np.bincount(place, held, len(order))
        with np.errstate(invalid="ignore"):  # a resample without any row that has the score
            means.append(sums[picks].sum(axis=1) / counts[picks].sum(axis=1))
    low, high = np.nanquantile(statistic(*means), (0.025, 0.975))
    return float(low), float(high)


def summarise(cp: Sequence[float], pf: Sequence[float], *, seed: int = 0) -> dict[str, object]:
    """CP, PF, their product and ratio over all prompts, each with its 95 % interval.

    As in DreamBench++ the product is that of the two overall means, not the mean of products; the ratio CP/PF is the
    paper's own addition (table 3).
    """
    means = _table([cp, pf]).mean(axis=1)
    row: dict[str, object] = {name: float(of(means[0], means[1])) for name, of in CP_PF.items()}
    row["intervals"] = {name: bootstrap([cp, pf], of, seed=seed) for name, of in CP_PF.items()}
    return row


def mean_of_all(*means: np.ndarray) -> np.ndarray:
    """The unweighted mean of several means, as a statistic for ``bootstrap``."""
    return np.mean(means, axis=0)


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Chance that a positive scores above a negative (ties count half): the area under the ROC curve, in [0, 1]."""
    above = np.asarray(positive, dtype=float)[:, None] - np.asarray(negative, dtype=float)[None, :]
    if above.size == 0:
        raise ValueError("auc needs at least one positive and one negative score")
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def _table(columns: Sequence[Sequence[float]]) -> np.ndarray:
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"expected columns of one non-zero length, got lengths {sorted(lengths)}")
    return np.asarray(columns, dtype=float)
