"""The gallery: the first held-out prompts with seeds 0, 1, ..., nothing picked; and the first prompts of every other task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from mentor.data.held_out import evaluation_prompts
from mentor.data.mixture import Mixture
from mentor.data.tasks import Sample
from mentor.evaluation.contact_sheet import Entry, contact_sheet
from mentor.evaluation.pictures import Painter, PictureStore, Progress

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus

TASKS = ("text_to_image", "reconstruct", "segment", "recover", "multi")
"""Tasks of the second sheet, in its order."""


def scene_gallery(
    painter: Painter,
    corpus: Corpus,
    store: PictureStore,
    *,
    n: int = 24,
    seed: int = 0,
    progress: Progress | None = None,
) -> Image.Image:
    """Reference, answer and true picture of the first ``n`` evaluation prompts; prompt i is drawn with seed ``seed + i``.

    Raises ``ValueError`` for ``n`` below 1 or a corpus without enough held-out subjects.
    """
    samples = evaluation_prompts(corpus.split("test"), n, seed, size=painter.size)
    seeds = [seed + number for number in range(n)]
    title = f"The first {n} held-out prompts, seeds {seed} to {seed + n - 1}; model {painter.name}, {painter.size} px."
    return _sheet(painter, store, samples, seeds, title, progress)


def task_gallery(
    painter: Painter,
    corpus: Corpus,
    store: PictureStore,
    *,
    n: int = 6,
    seed: int = 0,
    progress: Progress | None = None,
) -> Image.Image:
    """The same for the first ``n`` held-out samples of every task of ``TASKS``; sample i is drawn with seed ``seed + i``."""
    if n < 1:
        raise ValueError(f"expected at least 1 sample of each task, got {n}")
    samples = [
        Mixture(corpus, {task: 1.0}, "test", painter.size, seed, strict=True).sample(number)
        for task in TASKS
        for number in range(n)
    ]
    seeds = [seed + number for _ in TASKS for number in range(n)]
    title = (
        f"The first {n} held-out samples of {', '.join(TASKS)}; seeds {seed} to {seed + n - 1}; model {painter.name}."
    )
    return _sheet(painter, store, samples, seeds, title, progress)


def _sheet(
    painter: Painter,
    store: PictureStore,
    samples: list[Sample],
    seeds: list[int],
    title: str,
    progress: Progress | None,
) -> Image.Image:
    pictures = store.pictures(painter, [sample.prompt for sample in samples], seeds, what="gallery", progress=progress)
    entries = [
        Entry(
            (*sample.prompt.images, picture, sample.target),
            (*("reference" for _ in sample.prompt.images), f"seed {seed}", "truth"),
            f"{sample.task}: {_words(sample)}",
        )
        for sample, picture, seed in zip(samples, pictures, seeds, strict=True)
    ]
    return contact_sheet(entries, columns=3, cell=112, title=title)


def _words(sample: Sample) -> str:
    """The caption without the lines that introduce the references; those lines where there is no caption."""
    lines = [line for line in sample.prompt.text.splitlines() if line.strip()]
    return lines[-1]
