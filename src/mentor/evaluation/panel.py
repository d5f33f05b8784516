"""Many questions to a judge: asked by threads in passes, read as scores 0 to 4."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mentor.evaluation.protocol import Progress
from mentor.vlm.asker import PATIENCE, RETRIES, Asker, Usage
from mentor.vlm.client import ModelBusy, ModelDown, QuestionFailed, Turn, VisionLanguageModel, encode_jpeg

BEST = 4
"""Scores are whole numbers from 0 to this."""
TRIES = 3
"""How often a question is asked before an answer without a valid score makes it a failure (DreamBench++)."""
SIDE = 512
"""Both pictures of a question are resized to exactly this many pixels, whatever their shape (DreamBench++)."""
# "Score: 3", "score: **3**", "Score: [3]"; a fraction or a decimal is no whole number of the scale.
_SCORE = re.compile(r"[Ss]core[*_]*:[\s*_\[(]*[a-zA-Z]*\s*(\d+(?:\.\d+)?)")


def encode_image(picture: Image.Image) -> bytes:
    """A picture of any size as the JPEG file that judges are shown: ``SIDE`` x ``SIDE`` pixels, shape not kept."""
    return encode_jpeg(picture.convert("RGB").resize((SIDE, SIDE)))


def parse_score(text: str) -> int:
    """The one score that an answer states after "score:"; ``ValueError`` for none, several, or one outside 0..4."""
    found = _SCORE.findall(text)
    if len(found) != 1:
        raise ValueError("the answer has no score" if not found else f"the answer has {len(found)} scores")
    if not found[0].isdecimal() or not 0 <= int(found[0]) <= BEST:
        raise ValueError(f"the answer's score {found[0]} is not a whole number from 0 to {BEST}")
    return int(found[0])


@dataclass(frozen=True)
class Question:
    """A dialogue that waits for the judge's turn.

    Every one of the judge's passes asks it anew, and so does every further question that is equal to it (of a method that
    gives one picture to several prompts): each is a draw of its own, as in DreamBench++.
    """

    dialogue: tuple[Turn, ...]
    judge_pass: int = 0


@dataclass(frozen=True)
class Verdict:
    """What came of a question: a score 0..4 or the reason why there is none."""

    score: int | None
    failure: str | None = None
    silent: bool = False
    """There is no answer at all: the next run asks again."""
    busy: bool = False
    """There is none because the judge was busy or out of reach, not because it refused."""


class Panel:
    """Asks one judge; raw answers are kept under ``folder``. See ``Asker`` for ``seed``, ``retries`` and ``pause``.

    Without a seed they are drawn at random, as DreamBench++ does. ``accept_unanswered``: questions that a busy judge left
    unanswered are failures like refused ones, not an error.
    """

    def __init__(
        self,
        judge: VisionLanguageModel,
        folder: Path,
        *,
        seed: int | None = None,
        retries: int = RETRIES,
        pause: float = 0.5,
        accept_unanswered: bool = False,
    ) -> None:
        self.judge, self.folder = judge, folder
        self._accept_unanswered = accept_unanswered
        patience = 100 if accept_unanswered else PATIENCE
        self._asker = Asker(judge, folder, seed=seed, retries=retries, pause=pause, patience=patience)

    @property
    def usage(self) -> Usage:
        """What the answers took; tries without a score count too."""
        return self._asker.usage

    @property
    def served(self) -> Counter[str]:
        """How many answers came from which model, by its own name."""
        return self._asker.served

    def ask(self, questions: Sequence[Question], *, progress: Progress | None = None) -> list[Verdict]:
        """A verdict for each question.

        Raises ``ModelDown`` when the judge answers nobody, ``ValueError`` when it was too busy for some questions: they would
        be worth 0 points. Its answers so far are kept.
        """
        verdicts: dict[int, Verdict] = {}
        self._asker.start()
        with ThreadPoolExecutor(max_workers=self.judge.threads) as threads:
            futures = {
                threads.submit(self._verdict, question, name): number
                for number, (question, name) in enumerate(zip(questions, self._names(questions), strict=True))
            }
            try:
                for done in as_completed(futures):
                    verdicts[futures[done]] = done.result()
                    if progress is not None:
                        progress("judge", len(verdicts), len(questions))
                if verdicts and all(verdict.silent for verdict in verdicts.values()):
                    raise ModelDown(f"{self.judge.name} answered nothing; {verdicts[0].failure}")
            except ModelDown as error:
                finished = sum(_has_verdict(future) for future in futures)
                raise ModelDown(
                    f"the judge is down: {error}; of {len(questions)} questions {finished} are finished and their answers "
                    f"kept in {self.folder}: run again to go on"
                ) from error
            finally:
                self._asker.stop()  # also for Ctrl-C
                threads.shutdown(wait=False, cancel_futures=True)
        busy = [verdict.failure for verdict in verdicts.values() if verdict.busy]
        if busy and not self._accept_unanswered:
            raise ValueError(
                f"{len(busy)} of {len(questions)} questions were left unanswered by a busy judge (the last: {busy[-1]}); the "
                f"other answers are kept in {self.folder}: run again to ask for these alone, with fewer --judge-threads or "
                "more --judge-retries if it stays so; --judge-accept-unanswered counts them as failures"
            )
        return [verdicts[number] for number in range(len(questions))]

    def _names(self, questions: Sequence[Question]) -> list[str]:
        """A name for each question, made of all that its answer depends on and of how many equal ones stand before it."""
        before = Counter[str]()
        names = []
        for question in questions:
            name = self._asker.name(question.dialogue, question.judge_pass)
            names.append(f"{name}-{before[name]}")
            before[name] += 1
        return names

    def _verdict(self, question: Question, name: str) -> Verdict:
        reason = ""
        for attempt in range(TRIES):
            try:
                reply = self._asker.ask(question.dialogue, name, attempt=attempt, note={"pass": question.judge_pass})
            except QuestionFailed as error:
                busy = isinstance(error, ModelBusy)
                return Verdict(None, f"the judge did not answer: {error}", silent=True, busy=busy)
            except ModelDown:
                self._asker.stop()  # before this thread can take the next question
                raise
            try:
                return Verdict(parse_score(reply.text))
            except ValueError as error:
                reason = str(error)
        return Verdict(None, f"{reason} ({TRIES} tries)")


def _has_verdict(future: Future[Verdict]) -> bool:
    ended = future.done() and not future.cancelled() and future.exception() is None
    return ended and not future.result().silent
