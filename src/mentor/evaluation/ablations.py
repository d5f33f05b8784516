"""The rows of an ablation study on the scene benchmark: what each costs, and whether the paper's rows go the same way.

All rows draw the same prompts with the same seeds, so a row is compared with the reference prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mentor.data.held_out import evaluation_prompts
from mentor.evaluation.pictures import Painter, PictureStore
from mentor.evaluation.protocol import Progress
from mentor.evaluation.published import published_rows
from mentor.evaluation.scene_judge import Judge, Subjects
from mentor.evaluation.statistics import CP_PF, bootstrap
from mentor.evaluation.tables import markdown_table

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus
    from mentor.models.perceptual import STLPIPS

COLUMNS = {"cp": "CP", "pf": "PF", "cp_pf": "CP x PF"}
_OF = {name: CP_PF[name] for name in COLUMNS}
RESOLVED, WITHIN_NOISE, OPPOSITE = "agrees", "within noise", "disagrees"
"""Whether a difference from the reference goes the paper's way; within noise: its 95 % interval holds 0."""

Scores = dict[str, dict[int, dict[str, list[float]]]]
"""Row -> seed -> ``cp`` and ``pf``, one number a prompt."""


def score_rows(
    painters: Mapping[str, Callable[[], Painter]],
    corpus: Corpus,
    store: PictureStore,
    trunk: STLPIPS,
    *,
    prompts: int,
    seeds: Sequence[int],
    size: int,
    progress: Progress | None = None,
) -> Scores:
    """CP and PF of every row on ``prompts`` held-out prompts of each seed; ``painters`` are made when their turn comes.

    Seed s has its own prompts, and prompt i is drawn with s * prompts + i. Raises ValueError for a painter of another picture
    size than ``size``.
    """
    test = corpus.split("test")
    sets = {seed: evaluation_prompts(test, prompts, seed, size=size) for seed in seeds}
    subjects = Subjects(corpus, trunk)
    judges = {seed: Judge(subjects, samples) for seed, samples in sets.items()}
    scores: Scores = {}
    for row, make in painters.items():
        painter = make()
        if painter.size != size:
            raise ValueError(f"row {row} draws pictures of {painter.size} px, the study is scored at {size}")
        scores[row] = {}
        for seed, samples in sets.items():
            drawn = [seed * prompts + number for number in range(prompts)]
            asked = [sample.prompt for sample in samples]
            pictures = store.pictures(painter, asked, drawn, what=f"{row}, seed {seed}", progress=progress)
            judged = judges[seed].score(pictures)
            scores[row][seed] = {"cp": [one.cp for one in judged], "pf": [one.pf for one in judged]}
    return scores


def summarise_rows(scores: Scores, reference: str, paper: Mapping[str, str]) -> dict[str, Any]:
    """Row -> means over the seeds with their deviation, the difference from ``reference``, the paper's, and the verdict.

    ``paper`` maps rows to labels of the paper's table 4. The difference is that of all prompts of all seeds, its 95 %
    interval a bootstrap over the pairs. Raises ValueError for a label that the paper does not have.
    """
    published = {row.label: row.numbers for row in published_rows("dreambench_plus")}
    unknown = sorted(set(paper.values()) - set(published))
    if unknown:
        raise ValueError(f"paper: the published table has no row {unknown[0]!r}")
    theirs = {row: published[label] for row, label in paper.items()}
    summaries = {
        row: _summary(of_row, None if row == reference else scores[reference]) for row, of_row in scores.items()
    }
    return {row: summary | _verdicts(row, summary, reference, theirs) for row, summary in summaries.items()}


def _summary(of_row: Mapping[int, Mapping[str, Sequence[float]]], reference: Any) -> dict[str, Any]:
    means = {
        name: [float(of(np.mean(seed["cp"]), np.mean(seed["pf"]))) for seed in of_row.values()]
        for name, of in _OF.items()
    }
    found: dict[str, Any] = {name: float(np.mean(values)) for name, values in means.items()}
    found["std"] = {name: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for name, values in means.items()}
    if reference is not None:
        ours, others = _pooled(of_row), _pooled(reference)
        found["difference"] = {
            name: float(of(*(np.mean(column) for column in ours)) - of(*(np.mean(column) for column in others)))
            for name, of in _OF.items()
        }
        found["interval"] = {name: _interval(of, [*ours, *others]) for name, of in _OF.items()}
    return found


def _interval(of: Callable[[Any, Any], Any], columns: Sequence[Sequence[float]]) -> tuple[float, float]:
    return bootstrap(columns, lambda cp, pf, other_cp, other_pf: of(cp, pf) - of(other_cp, other_pf))


def _pooled(of_row: Mapping[int, Mapping[str, Sequence[float]]]) -> tuple[list[float], list[float]]:
    cp, pf = ([value for seed in of_row.values() for value in seed[name]] for name in ("cp", "pf"))
    return cp, pf


def _verdicts(
    row: str, summary: Mapping[str, Any], reference: str, theirs: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """The paper's numbers of a row, and whether ours move the same way."""
    found: dict[str, Any] = {"paper": dict(theirs[row])} if row in theirs else {}
    if row == reference or not {row, reference} <= set(theirs):
        return found
    found["direction"] = {}
    for name in COLUMNS:
        low, high = summary["interval"][name]
        change = theirs[row][name] - theirs[reference][name]
        if low <= 0 <= high:
            verdict = WITHIN_NOISE
        else:
            verdict = RESOLVED if summary["difference"][name] * change > 0 else OPPOSITE
        found["direction"][name] = verdict
    return found


def ablation_table(rows: Mapping[str, Any], losses: Mapping[str, Mapping[str, float]] | None = None) -> list[str]:
    """Markdown: our numbers, the difference from the reference with its interval, the paper's beside them, the verdicts.

    ``losses``: row -> held-out loss on object tokens by condition (nats), where it is known.
    """
    lines = markdown_table(
        [["row", *COLUMNS.values(), *(f"paper's {name}" for name in COLUMNS.values())], *_ours(rows)]
    )
    header = ["row", *(f"{name}, difference [95 %]" for name in COLUMNS.values()), "paper's", "direction"]
    lines += ["", *markdown_table([header, *_differences(rows)])]
    if losses:
        names = list(dict.fromkeys(name for of_row in losses.values() for name in of_row))
        body = [
            [row, *(f"{found[name]:.2f}" if name in found else "" for name in names)] for row, found in losses.items()
        ]
        lines += ["", *markdown_table([["held-out loss (nats a token)", *names], *body])]
    return lines


def _ours(rows: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            row,
            *(f"{found[name]:.3f} ± {found['std'][name]:.3f}" for name in COLUMNS),
            *(f"{found['paper'][name]:.3f}" if "paper" in found else "" for name in COLUMNS),
        ]
        for row, found in rows.items()
    ]


def _differences(rows: Mapping[str, Any]) -> list[list[str]]:
    reference = next(found for found in rows.values() if "difference" not in found)
    table = []
    for row, found in rows.items():
        if "difference" not in found:
            continue
        cells = []
        for name in COLUMNS:
            low, high = found["interval"][name]
            cells.append(f"{found['difference'][name]:+.3f} [{low:+.3f}, {high:+.3f}]")
        theirs = ["", ""]
        if "direction" in found:
            changes = [f"{found['paper'][name] - reference['paper'][name]:+.3f}" for name in COLUMNS]
            theirs = [" / ".join(changes), " / ".join(found["direction"][name] for name in COLUMNS)]
        table.append([row, *cells, *theirs])
    return table
