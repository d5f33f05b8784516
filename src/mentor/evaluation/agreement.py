"""How far a judge agrees with people: Krippendorff's alpha and Pearson's r over the ratings of the same pictures.

Ratings are files in DreamBench++'s layout; a key is "<collection id>-<prompt>", a value a number from 0 to 4 or null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mentor.evaluation.dreambench_plus_data import rating_key
from mentor.evaluation.panel import BEST

Ratings = Mapping[str, float]
ASPECTS = {"cp": "concept_preservation", "pf": "prompt_following"}
"""What is rated, and what the folders of the official judge's ratings are called."""


def krippendorff_alpha(ratings: ArrayLike) -> float:
    """Alpha for the interval level of [raters, units], NaN where a rater left a unit out; 1 is full agreement, 0 chance.

    Units with fewer than two ratings do not count (Krippendorff 2011). Raises ``ValueError`` when no unit has two ratings
    or all ratings are equal, for which alpha is not defined.
    """
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2:
        raise ValueError(f"expected ratings [raters, units], got {table.ndim} dimension(s)")
    present = ~np.isnan(table)
    count = present.sum(axis=0)
    table, present, count = table[:, count > 1], present[:, count > 1], count[count > 1]
    if not count.size:
        raise ValueError("alpha needs units with at least two ratings; the rating files share no such key")
    values = np.where(present, table - table[present].mean(), 0.0)
    total = int(count.sum())
    # Over ordered pairs the squared differences of m numbers add up to 2 (m sum x^2 - (sum x)^2).
    within = 2 * (count * (values**2).sum(axis=0) - values.sum(axis=0) ** 2)
    observed = float((within / (count - 1)).sum()) / total
    expected = float(2 * (total * (values**2).sum() - values.sum() ** 2)) / (total * (total - 1))
    if expected <= 0:
        raise ValueError("alpha is not defined: all ratings are equal")
    return 1 - observed / expected


def pearson(one: ArrayLike, two: ArrayLike) -> float:
    """Pearson's r of paired ratings; ``ValueError`` for fewer than two pairs or ratings that are all equal."""
    x, y = np.asarray(one, dtype=float), np.asarray(two, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or x.size < 2:
        raise ValueError(f"expected two equally long lists of at least 2 ratings, got shapes {x.shape} and {y.shape}")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("Pearson's r is not defined: one side's ratings are all equal")
    return float(np.corrcoef(x, y)[0, 1])


def alpha_of(raters: Sequence[Ratings]) -> float:
    """Alpha of raters that need not have rated the same pictures."""
    keys = sorted(set().union(*raters))
    return krippendorff_alpha([[rater.get(key, np.nan) for key in keys] for rater in raters])


def pearson_of(one: Ratings, two: Ratings) -> float:
    """Pearson's r over the pictures that both rated, paired by key (not by the files' order)."""
    keys = sorted(set(one) & set(two))
    return pearson([one[key] for key in keys], [two[key] for key in keys])


def read_human(folder: Path, method: str) -> list[dict[str, Ratings]]:
    """For every group of people the ratings ``{"cp": ..., "pf": ...}`` of a method.

    ``folder`` is ``data_human_rating/raw_data`` (files ``<group>/*-<method>.json`` with [CP, PF] for each key) or
    ``.../merged_data`` (``<group>/<method>-cp.json`` and ``-pf.json``). Raises ``ValueError`` when a group has no such file.
    """
    groups = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not groups:
        raise ValueError(f"{folder}: expected the folders of the groups of people (raw_data or merged_data)")
    return [_human_group(group, method) for group in groups]


def _human_group(group: Path, method: str) -> dict[str, Ratings]:
    merged = {aspect: group / f"{method}-{aspect}.json" for aspect in ASPECTS}
    if all(path.is_file() for path in merged.values()):
        return {aspect: _numbers(path, _read(path)) for aspect, path in merged.items()}
    raw = sorted(group.glob(f"*-{method}.json"))
    if not raw:
        raise ValueError(
            f"{group}: has no ratings of {method!r} (*-{method}.json, or {method}-cp.json and {method}-pf.json)"
        )
    ratings: dict[str, dict[str, float]] = {aspect: {} for aspect in ASPECTS}
    for path in raw:
        pairs = _read(path)
        if not all(isinstance(pair, list) and len(pair) == len(ASPECTS) for pair in pairs.values()):
            raise ValueError(f"{path}: expected [CP, PF] for every key")
        for number, aspect in enumerate(ASPECTS):
            ratings[aspect].update(_numbers(path, {key: pair[number] for key, pair in pairs.items()}))
    return dict(ratings)


def read_judge(folder: Path, method: str) -> dict[str, list[Ratings]]:
    """The judge's passes for each aspect, from DreamBench++'s ``data_gpt_rating`` or from a run of ours.

    Official: ``concept_preservation_full``, ``..._full2``, ``..._full3`` (and ``prompt_following_...``), each with
    ``<method>.json`` or a folder ``<method>`` with one file a picture. A run: its folder with ``items.jsonl``; ``method`` is
    then of no account. Raises ``ValueError`` when there are none.
    """
    if (folder / "items.jsonl").is_file():
        return _of_run(folder / "items.jsonl")
    passes: dict[str, list[Ratings]] = {}
    for aspect, prefix in ASPECTS.items():
        folders = [folder / f"{prefix}_full{number}" for number in ("", *range(2, 10))]
        passes[aspect] = [_numbers(each, _judged(each, method)) for each in folders if each.is_dir()]
        if not passes[aspect]:
            raise ValueError(f"{folder}: expected {prefix}_full in it, or items.jsonl of a run")
    return passes


def _judged(folder: Path, method: str) -> dict[str, Any]:
    if (folder / f"{method}.json").is_file():
        return _read(folder / f"{method}.json")
    single = [_read(path) for path in sorted((folder / method).glob("*.json"))]
    if not single:
        raise ValueError(f"{folder}: has no ratings of {method!r} ({method}.json, or a folder {method})")
    try:
        return {f"{each['collection_id']}-{each['prompt_index']}": each["score"] for each in single}
    except KeyError as error:
        raise ValueError(f"{folder / method}: expected collection_id, prompt_index and score in every file") from error


def _of_run(path: Path) -> dict[str, list[Ratings]]:
    passes: dict[str, dict[int, dict[str, float]]] = {aspect: {} for aspect in ASPECTS}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for name, value in record["numbers"].items():
            aspect, _, number = name.partition("_pass_")
            if number and aspect in passes:
                passes[aspect].setdefault(int(number), {})[rating_key(record["key"])] = value * BEST
    if not all(passes.values()):
        raise ValueError(f"{path}: has no judged pictures; expected the run of dreambench_plus")
    return {aspect: [found[number] for number in sorted(found)] for aspect, found in passes.items()}


def agreement(human: Sequence[Mapping[str, Ratings]], judge: Mapping[str, Sequence[Ratings]]) -> dict[str, Any]:
    """Human against human, and judge against human, for ``cp`` and ``pf``.

    ``alpha_human`` is that of all groups together. ``alpha_judge`` is, as in DreamBench++, the mean over the groups for every
    pass, then the mean over the passes, with ``alpha_judge_std`` (n - 1; None for one pass). ``pearson_human`` is over the
    first two groups, ``pearson_judge`` of the first pass with each group, mean and ``pearson_judge_half_range``. Nothing is
    rounded on the way. A statistic that needs two groups is None for one. Raises ``ValueError`` where one is undefined.
    """
    result: dict[str, Any] = {}
    for aspect in ASPECTS:
        groups = [group[aspect] for group in human]
        alphas = [float(np.mean([alpha_of([group, ratings]) for group in groups])) for ratings in judge[aspect]]
        correlations = [pearson_of(group, judge[aspect][0]) for group in groups]
        result[aspect] = {
            "pictures": len(set().union(*groups) & set(judge[aspect][0])),
            "groups": len(groups),
            "passes": len(alphas),
            "alpha_human": alpha_of(groups) if len(groups) > 1 else None,
            "alpha_judge": float(np.mean(alphas)),
            "alpha_judge_std": float(np.std(alphas, ddof=1)) if len(alphas) > 1 else None,
            "pearson_human": pearson_of(groups[0], groups[1]) if len(groups) > 1 else None,
            "pearson_judge": float(np.mean(correlations)),
            "pearson_judge_half_range": (max(correlations) - min(correlations)) / 2,
        }
    return result


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a JSON object, got a {type(data).__name__}")
    return data


def _numbers(path: Path, ratings: Mapping[str, Any]) -> dict[str, float]:
    """Ratings without those that are null or NaN; ``ValueError`` for other things than numbers."""
    wrong = [key for key, value in ratings.items() if value is not None and not isinstance(value, int | float)]
    if wrong:
        raise ValueError(f"{path}: expected a number or null for every key, got {ratings[wrong[0]]!r} for {wrong[0]}")
    return {key: float(value) for key, value in ratings.items() if value is not None and not np.isnan(value)}
