"""Many pictures through the pipeline: the model is asked by threads, what is finished stays and is not made again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from mentor.construction.annotation.annotator import Annotation, Annotator, Unusable
from mentor.construction.annotation.store import AnnotationFile
from mentor.data.images import SUFFIXES, load_image
from mentor.vlm.client import ModelDown, QuestionFailed

Outcome = tuple[tuple[int, int], Annotation] | ValueError | Unusable | QuestionFailed
SMALLEST = 64
"""Pixels of the shorter side, below which a picture is no training target."""
LONGEST_SHAPE = 16
LARGEST = 1536
"""Pixels of the longer side that a picture is annotated at: masks of 24 megapixels take a gigabyte, and none is trained on."""
TRIAL = 20
"""So many new pictures are tried before any is noted as one that gives nothing: it may be the model that does."""


@dataclass
class Progress:
    """Pictures done, of how many, and what this run found."""

    done: int
    total: int
    objects: int = 0
    """With masks."""
    failures: int = 0
    """Pictures that give nothing."""
    unanswered: int = 0
    """Pictures that the model did not answer about; the next run asks again."""
    reason: str = ""
    """Why the last of them was not answered."""


def find_pictures(folder: Path, *, without: Path | None = None) -> tuple[list[str], int]:
    """Names of the pictures under ``folder``, sorted, with ``/``, and how many other files there are; ``ValueError`` for none.

    What lies under ``without`` is left out, and links to folders are not followed.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    names, others = [], 0
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [
            name
            for name in folders
            if name[0] != "." and (without is None or (here / name).resolve() != without.resolve())
        ]
        shown = [name for name in files if name[0] != "."]
        found = [here / name for name in shown if Path(name).suffix.lower() in SUFFIXES]
        names += [path.relative_to(folder).as_posix() for path in found]
        others += len(shown) - len(found)
    if not names:
        raise ValueError(f"{folder} holds no picture, only {others} files that do not end in {', '.join(SUFFIXES)}")
    return sorted(names), others


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
    out, for the next run. Raises ``ModelDown`` when the model answers nobody, or nothing that can be used about most of the
    first ``TRIAL`` new pictures, which are no failures then; what is finished is kept.
    """
    missing = (name for name in names if name not in file.done)
    now = Progress(sum(name in file.done for name in names), len(names))
    tried, unusable, failures = 0, list[str](), dict[str, str]()
    annotator.asker.start()
    with ThreadPoolExecutor(annotator.asker.model.threads) as threads:
        try:
            for name, outcome in _outcomes(threads, partial(_one, folder, annotator, file), missing, annotator):
                new = name not in file.failed and not isinstance(outcome, ValueError | QuestionFailed)
                tried += new
                match outcome:
                    case QuestionFailed():
                        now.unanswered, now.reason = now.unanswered + 1, str(outcome)
                    case Unusable() | ValueError():
                        failures[name] = str(outcome)
                        unusable += [str(outcome)] if new else []
                    case (size, annotation):
                        file.add(name, size, annotation)
                        now.done, now.objects = now.done + 1, now.objects + len(annotation.objects)
                if tried == TRIAL and len(unusable) > TRIAL // 2:
                    raise ModelDown(
                        f"{len(unusable)} of the first {TRIAL} pictures gave nothing, the last: {unusable[-1]}. The answers "
                        f"are in {annotator.asker.folder}: see what is wrong with the model, and delete them to ask it anew"
                    )
                if tried >= TRIAL:
                    _note(failures, file, now)
                if report is not None:
                    report(now)
            _note(failures, file, now)
        except ModelDown as error:
            raise ModelDown(f"{error}; {now.done} of {now.total} pictures are done: run again to go on") from error
        finally:
            annotator.asker.stop()  # also for Ctrl-C
            threads.shutdown(wait=False, cancel_futures=True)
    return now


def _note(failures: dict[str, str], file: AnnotationFile, now: Progress) -> None:
    now.done, now.failures = now.done + len(failures), now.failures + len(failures)
    for name in list(failures):
        file.add_failure(name, failures.pop(name))


def _one(folder: Path, annotator: Annotator, file: AnnotationFile, name: str) -> Outcome:
    try:
        picture = load_image(folder / name)
    except ValueError as error:
        return error
    size = picture.size
    if min(size) < SMALLEST or max(size) > LONGEST_SHAPE * min(size):
        return ValueError(f"{size[0]} x {size[1]} pixels; wanted are {SMALLEST} a side or more, and no strips")
    picture.thumbnail((LARGEST, LARGEST))
    try:
        return size, annotator(picture, file.attempt(name))
    except (Unusable, QuestionFailed) as error:
        return error


def _outcomes(
    threads: ThreadPoolExecutor, work: Callable[[str], Outcome], names: Iterator[str], annotator: Annotator
) -> Iterator[tuple[str, Outcome]]:
    """(name, outcome) in the order of finishing; few pictures are under way at once, whatever the length of ``names``."""
    most = 2 * annotator.asker.model.threads
    under_way: dict[Future[Outcome], str] = {}
    while True:
        for name in islice(names, most - len(under_way)):
            under_way[threads.submit(work, name)] = name
        if not under_way:
            return
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            yield under_way.pop(future), future.result()
