"""The scene benchmark: 200 and more held-out prompts whose every fact is known, judged without a learned critic of prompts.

Beside the model stand two baselines, *copy the reference* and *ignore the reference*, and the true pictures as the ceiling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mentor.data.catalog import catalog_of
from mentor.data.held_out import evaluation_prompts
from mentor.data.tasks import TASKS, Sample
from mentor.evaluation.answers import AnswerStore, Painter, Progress
from mentor.evaluation.baselines import copy_reference, without_reference
from mentor.evaluation.following import ATTRIBUTES
from mentor.evaluation.judge import Judge, Score, Subjects
from mentor.evaluation.pixels import reconstruction_errors, segmentation_iou
from mentor.evaluation.statistics import bootstrap, summarise

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus
    from mentor.models.perceptual import STLPIPS

ROWS = ("model", "copy_reference", "ignore_reference", "ground_truth")
"""The rows of the table, in its order."""

Recode = Callable[[Sequence[Image.Image]], list[Image.Image]]
"""Pictures through the image tokenizer and back: the best that any model of these tokens can draw."""


def evaluate_scenes(
    painter: Painter,
    corpus: Corpus,
    store: AnswerStore,
    trunk: STLPIPS,
    *,
    n: int = 240,
    seed: int = 0,
    recode: Recode | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], dict[str, list[Image.Image]]]:
    """Judge a model on ``n`` held-out prompts; prompt i is drawn with seed ``seed + i``.

    Returns the results (numbers, lists and names only) and the judged pictures of every row of ``ROWS``.

    Args:
        corpus: the whole corpus; prompts come from its test part, the judge's statistics from its training part.
        store: where generated pictures are kept; those that lie there are not made again.
        trunk: ST-LPIPS (``mentor.models.perceptual.STLPIPS``), used for CP and for reconstruction errors.
        recode: the model's image tokenizer, forth and back; adds the tokenizer's own ceiling to the results.

    Raises:
        ValueError: ``n`` below 1, or a corpus without enough held-out subjects.
    """
    test = corpus.split("test")
    samples = evaluation_prompts(test, n, seed, size=painter.size)
    seeds = [seed + number for number in range(n)]
    judge = Judge(Subjects(corpus, trunk), samples)
    truth = [sample.target for sample in samples]

    answers = {
        "model": store.pictures(painter, [sample.prompt for sample in samples], seeds, what="model", progress=progress),
        "copy_reference": [copy_reference(sample, painter.size) for sample in samples],
        "ignore_reference": store.pictures(
            painter,
            [without_reference(sample) for sample in samples],
            seeds,
            what="ignore_reference",
            progress=progress,
        ),
        "ground_truth": truth,
    }
    scores = {row: judge.score(pictures) for row, pictures in answers.items()}
    checker = _attributes(scores["ground_truth"])
    results: dict[str, Any] = {
        "prompts": n,
        "seed": seed,
        "checker_accuracy": _mean_of_all(scores["ground_truth"]),
        "checker": {"attributes": checker},
        "anchors": vars(judge.anchors),
        **{row: _row(scores[row], samples, test, seed) for row in ROWS},
        "items": [{"cp": score.cp, "pf": score.pf, **score.attributes} for score in scores["model"]],
    }
    if recode is not None:
        recoded = judge.score(recode(truth))
        results["checker"]["recoded_accuracy"] = _mean_of_all(recoded)
        results["tokenizer"] = _row(recoded, samples, test, seed)
    half = samples[: max(1, n // 2)]
    results["segmentation"] = _segmentation(painter, store, test, half, seeds, recode, progress)
    results["reconstruction"] = _reconstruction(painter, store, test, half, seeds, trunk, recode, progress)
    return results, answers


def _row(scores: Sequence[Score], samples: Sequence[Sample], corpus: Corpus, seed: int) -> dict[str, Any]:
    """One row of the table with its details: attributes, groups of prompts and categories of subjects."""
    cutouts = catalog_of(corpus).cutouts
    kinds = ["two references" if len(sample.references) > 1 else sample.scene.kind for sample in samples]
    categories = [cutouts[sample.references[0]].category for sample in samples]
    row = summarise([score.cp for score in scores], [score.pf for score in scores], seed=seed)
    return {
        **row,
        "attributes": _attributes(scores),
        "kinds": _grouped(scores, kinds),
        "categories": _grouped(scores, categories),
    }


def _grouped(scores: Sequence[Score], names: Sequence[str]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[Score]] = defaultdict(list)
    for score, name in zip(scores, names, strict=True):
        groups[name].append(score)
    return {
        name: {
            "prompts": len(group),
            "cp": float(np.mean([score.cp for score in group])),
            "pf": float(np.mean([score.pf for score in group])),
        }
        for name, group in sorted(groups.items())
    }


def _attributes(scores: Sequence[Score]) -> dict[str, float]:
    """Mean of every attribute over the prompts that ask for it."""
    asked = {name: [score.attributes[name] for score in scores if name in score.attributes] for name in ATTRIBUTES}
    return {name: float(np.mean(values)) for name, values in asked.items() if values}


def _mean_of_all(scores: Sequence[Score]) -> float:
    """Mean over all attributes of all prompts, each attribute counted once."""
    return float(np.mean([value for score in scores for value in score.attributes.values()]))


def _task(name: str, corpus: Corpus, samples: Sequence[Sample], seeds: Sequence[int], size: int) -> list[Sample]:
    chosen = zip(samples, seeds[: len(samples)], strict=True)
    return [TASKS[name](sample.scene, corpus, seed, size=size) for sample, seed in chosen]


def _segmentation(
    painter: Painter,
    store: AnswerStore,
    corpus: Corpus,
    scenes: Sequence[Sample],
    seeds: Sequence[int],
    recode: Recode | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """IoU of "The X in <image>." on the prompts' true scenes, beside that of the true answer and of a picture left as it is."""
    tasks = _task("segment", corpus, scenes, seeds, painter.size)
    pictures = store.pictures(
        painter, [task.prompt for task in tasks], seeds[: len(tasks)], what="segmentation", progress=progress
    )
    iou = [segmentation_iou(picture, task.object_mask) for picture, task in zip(pictures, tasks, strict=True)]
    targets = [task.target for task in tasks]
    untouched = [task.prompt.images[0].resize((painter.size, painter.size)) for task in tasks]
    result = {
        "pictures": len(tasks),
        "iou": float(np.mean(iou)),
        "interval": bootstrap([iou], lambda mean: mean),
        "untouched_iou": _mean_iou(untouched, tasks),
        "ground_truth_iou": _mean_iou(targets, tasks),
    }
    if recode is not None:
        result["tokenizer_iou"] = _mean_iou(recode(targets), tasks)
    return result


def _mean_iou(pictures: Sequence[Image.Image], tasks: Sequence[Sample]) -> float:
    return float(
        np.mean([segmentation_iou(picture, task.object_mask) for picture, task in zip(pictures, tasks, strict=True)])
    )


def _reconstruction(
    painter: Painter,
    store: AnswerStore,
    corpus: Corpus,
    scenes: Sequence[Sample],
    seeds: Sequence[int],
    trunk: STLPIPS,
    recode: Recode | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Errors of the reconstruct task on the prompts' true scenes, beside the image tokenizer's own."""
    tasks = _task("reconstruct", corpus, scenes, seeds, painter.size)
    pictures = store.pictures(
        painter, [task.prompt for task in tasks], seeds[: len(tasks)], what="reconstruction", progress=progress
    )
    targets = [task.target for task in tasks]
    errors = reconstruction_errors(pictures, targets, trunk)
    result: dict[str, Any] = {
        "pictures": len(tasks),
        **{name: float(np.mean(values)) for name, values in errors.items()},
    }
    result["intervals"] = {name: bootstrap([values], lambda mean: mean) for name, values in errors.items()}
    if recode is not None:
        ceiling = reconstruction_errors(recode(targets), targets, trunk)
        result["tokenizer"] = {name: float(np.mean(values)) for name, values in ceiling.items()}
    return result
