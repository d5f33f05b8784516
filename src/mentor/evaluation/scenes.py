"""The scene benchmark: 200 and more held-out prompts whose every fact is known, judged without a learned critic of prompts.

Beside the model stand two baselines, *copy the reference* and *ignore the reference*, and the true pictures as the ceiling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mentor.data.catalog import catalog_of
from mentor.data.tasks import TASKS, Sample
from mentor.evaluation.baselines import CopyReference, caption_of
from mentor.evaluation.following import ATTRIBUTES
from mentor.evaluation.pictures import Painter, PictureStore, Progress
from mentor.evaluation.pixels import fitted, reconstruction_errors, segmentation_iou
from mentor.evaluation.scene_judge import Judge, Score, Subjects
from mentor.evaluation.statistics import bootstrap, summarise
from mentor.prompt import Prompt

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus
    from mentor.models.perceptual import STLPIPS

ROWS = ("model", "copy_reference", "ignore_reference", "ground_truth")
"""The rows of the table, in its order."""

Recode = Callable[[Sequence[Image.Image]], list[Image.Image]]
"""Pictures through the image tokenizer and back: the best that any model of these tokens can draw."""


@dataclass(frozen=True)
class Drawn:
    """A model's pictures for the benchmark's prompts, without the references, and for two tasks on the first half's scenes."""

    model: list[Image.Image]
    ignore_reference: list[Image.Image]
    segmentation: list[tuple[Sample, Image.Image]]
    reconstruction: list[tuple[Sample, Image.Image]]


def draw_scenes(
    painter: Painter,
    test: Corpus,
    samples: Sequence[Sample],
    store: PictureStore,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Drawn:
    """Makes the pictures that ``store`` has not; prompt i is drawn with seed ``seed + i``. ``test``: the held-out corpus."""
    seeds = [seed + number for number in range(len(samples))]

    def drawn(prompts: Sequence[Prompt], what: str) -> list[Image.Image]:
        return store.pictures(painter, prompts, seeds[: len(prompts)], what=what, progress=progress)

    def task(name: str, what: str) -> list[tuple[Sample, Image.Image]]:
        half = samples[: max(1, len(samples) // 2)]
        numbered = zip(half, seeds[: len(half)], strict=True)
        asked = [TASKS[name](sample.scene, test, number, size=painter.size) for sample, number in numbered]
        return list(zip(asked, drawn([each.prompt for each in asked], what), strict=True))

    return Drawn(
        drawn([sample.prompt for sample in samples], "model"),
        drawn([Prompt(caption_of(sample.prompt)) for sample in samples], "ignore_reference"),
        task("segment", "segmentation"),
        task("reconstruct", "reconstruction"),
    )


def judge_scenes(
    drawn: Drawn,
    corpus: Corpus,
    samples: Sequence[Sample],
    trunk: STLPIPS,
    *,
    seed: int = 0,
    recode: Recode | None = None,
) -> tuple[dict[str, Any], dict[str, list[Image.Image]]]:
    """Judges a model's pictures; returns the results (numbers, lists, names) and the judged pictures of every row of ``ROWS``.

    Args:
        corpus: the whole corpus: the judge's statistics come from its training part.
        trunk: ST-LPIPS (``mentor.models.perceptual.STLPIPS``), used for CP and for reconstruction errors.
        recode: the model's image tokenizer, forth and back; adds the tokenizer's own ceiling to the results.
    """
    test, judge = corpus.split("test"), Judge(Subjects(corpus, trunk), samples)
    truth = [sample.target for sample in samples]
    copied = CopyReference()([sample.prompt for sample in samples], range(len(samples)))
    answers = {
        "model": drawn.model,
        "copy_reference": [fitted(picture, drawn.model[0].size) for picture in copied],
        "ignore_reference": drawn.ignore_reference,
        "ground_truth": truth,
    }
    scores = {row: judge.score(pictures) for row, pictures in answers.items()}
    checker = _attributes(scores["ground_truth"])
    results: dict[str, Any] = {
        "prompts": len(samples),
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
    results["segmentation"] = _segmentation(drawn.segmentation, recode)
    results["reconstruction"] = _reconstruction(drawn.reconstruction, trunk, recode)
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


def _segmentation(drawn: Sequence[tuple[Sample, Image.Image]], recode: Recode | None) -> dict[str, Any]:
    """IoU of "The X in <image>." on the prompts' true scenes, beside that of the true answer and of a picture left as it is."""
    tasks, pictures = [task for task, _ in drawn], [picture for _, picture in drawn]
    iou = [segmentation_iou(picture, task.object_mask) for picture, task in zip(pictures, tasks, strict=True)]
    targets = [task.target for task in tasks]
    untouched = [task.prompt.images[0].resize(task.target.size) for task in tasks]
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
    drawn: Sequence[tuple[Sample, Image.Image]], trunk: STLPIPS, recode: Recode | None
) -> dict[str, Any]:
    """Errors of the reconstruct task on the prompts' true scenes, beside the image tokenizer's own."""
    targets = [task.target for task, _ in drawn]
    errors = reconstruction_errors([picture for _, picture in drawn], targets, trunk)
    result: dict[str, Any] = {
        "pictures": len(targets),
        **{name: float(np.mean(values)) for name, values in errors.items()},
    }
    result["intervals"] = {name: bootstrap([values], lambda mean: mean) for name, values in errors.items()}
    if recode is not None:
        ceiling = reconstruction_errors(recode(targets), targets, trunk)
        result["tokenizer"] = {name: float(np.mean(values)) for name, values in ceiling.items()}
    return result
