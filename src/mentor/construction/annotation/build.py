"""Many pictures through the pipeline: the model is asked by threads, what is finished stays and is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from mentor.construction.annotation.annotator import Annotation, Annotator, Unusable
from mentor.construction.annotation.store import AnnotationFile
from mentor.data.images import load_image
from mentor.vlm.client import ModelDown, QuestionFailed

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
Outcome = tuple[Image.Image, Annotation] | Unusable | QuestionFailed
SMALLEST = 64
"""Pixels of the shorter side, below which a picture is no training target."""


@dataclass(frozen=True)
class Progress:
    """Pictures done, of how many; objects with masks found by this run."""

    done: int
    total: int
    objects: int
    failures: int


def find_pictures(folder: Path) -> list[str]:
    """Names of the pictures under ``folder``, sorted, with ``/``; ``ValueError`` when there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not names:
        raise ValueError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    return names


def annotate_folder(
    folder: Path,
    names: Sequence[str],
    annotator: Annotator,
    file: AnnotationFile,
    *,
    report: Callable[[Progress], None] | None = None,
) -> Progress:
    """Annotates the pictures ``names`` of ``folder`` that ``file`` does not hold yet.

    A picture that cannot be read or described becomes a failure in ``file``; one that the model did not answer about is left
    out, for the next run. Raises ``ModelDown`` when the model answers nobody; what is finished is kept.
    """
    missing = (name for name in names if name not in file.done)
    done = sum(name in file.done for name in names)
    objects = failures = 0
    annotator.asker.start()
    with ThreadPoolExecutor(annotator.asker.model.threads) as threads:
        try:
            for name, outcome in _outcomes(threads, lambda name: _one(folder / name, annotator), missing):
                match outcome:
                    case QuestionFailed():
                        failures += 1
                    case Unusable():
                        file.add_failure(name, str(outcome))
                        failures += 1
                    case (picture, annotation):
                        file.add(name, picture, annotation)
                        objects += len(annotation.objects)
                done += 1
                if report is not None:
                    report(Progress(done, len(names), objects, failures))
        except ModelDown as error:
            raise ModelDown(f"{error}; {done} of {len(names)} pictures are done: run again to go on") from error
        finally:
            annotator.asker.stop()  # also for Ctrl-C
            threads.shutdown(wait=False, cancel_futures=True)
    return Progress(done, len(names), objects, failures)


def _one(path: Path, annotator: Annotator) -> Outcome:
    try:
        picture = load_image(path)
    except ValueError as error:
        return Unusable(str(error))
    if min(picture.size) < SMALLEST:
        return Unusable(f"{picture.width} x {picture.height} pixels, at least {SMALLEST} a side are wanted")
    try:
        return picture, annotator(picture)
    except (Unusable, QuestionFailed) as error:
        return error


def _outcomes(
    threads: ThreadPoolExecutor, work: Callable[[str], Outcome], names: Iterator[str]
) -> Iterator[tuple[str, Outcome]]:
    """(name, outcome) in the order of finishing; few pictures are under way at once, whatever the length of ``names``."""
    under_way: dict[Future[Outcome], str] = {}
    while True:
        for name in islice(names, 2 * threads._max_workers - len(under_way)):
            under_way[threads.submit(work, name)] = name
        if not under_way:
            return
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            yield under_way.pop(future), future.result()
