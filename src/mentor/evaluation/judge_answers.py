"""Many questions to a judge: asked by threads, tried again, kept on disk as they were answered, read as scores 0 to 4."""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mentor.evaluation.judge_client import JudgeBusy, JudgeDown, QuestionFailed, Reply, Turn, VisionJudge
from mentor.evaluation.protocol import Progress
from mentor.files import write_text

BEST = 4
"""Scores are whole numbers from 0 to this."""
TRIES = 3
"""How often a question is asked before an answer without a valid score makes it a failure (DreamBench++)."""
RETRIES = 6
"""How often a request that found the judge busy or silent is sent again, with doubled pauses."""
_PATIENCE = 8
_LONGEST_PAUSE = 60.0
# "Score: 3", "score: **3**", "Score: [3]"; a fraction or a decimal is no whole number of the scale.
_SCORE = re.compile(r"[Ss]core[*_]*:[\s*_\[(]*[a-zA-Z]*\s*(\d+(?:\.\d+)?)")


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


@dataclass
class Usage:
    """What the answers took; ``asked`` of them were new, the others lay on disk. Tries without a score count too."""

    answers: int = 0
    asked: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    new_prompt_tokens: int = 0
    new_completion_tokens: int = 0

    def add(self, reply: Reply, *, new: bool) -> None:
        """Count one answer."""
        self.answers += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        if new:
            self.asked += 1
            self.new_prompt_tokens += reply.prompt_tokens
            self.new_completion_tokens += reply.completion_tokens

    def described(self, price_in: float, price_out: float) -> dict[str, Any]:
        """The counts, and costs from prices per million tokens: of all answers, and of those asked now."""
        return {
            **asdict(self),
            "cost": (self.prompt_tokens * price_in + self.completion_tokens * price_out) / 1e6,
            "new_cost": (self.new_prompt_tokens * price_in + self.new_completion_tokens * price_out) / 1e6,
        }


class Panel:
    """Asks one judge, keeps every raw answer under ``folder``, and never asks again what lies there.

    ``seed``: with one, every question has its own seed derived from it; None draws seeds at random, as DreamBench++ does.
    Either way the seed stands in the kept answer. ``retries`` and ``pause`` (seconds, doubled each time) are for a judge
    that is busy or silent.
    """

    def __init__(
        self, judge: VisionJudge, folder: Path, *, seed: int | None = None, retries: int = RETRIES, pause: float = 0.5
    ) -> None:
        if retries < 0:
            raise ValueError(f"judge's retries: expected 0 or more, got {retries}")
        self.judge, self.folder, self.seed = judge, folder, seed
        self.usage, self.served = Usage(), Counter[str]()
        self._retries, self._pause = retries, pause
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._silent = 0

    def ask(
        self, questions: Sequence[Question], *, progress: Progress | None = None, what: str = "judge"
    ) -> list[Verdict]:
        """A verdict for each question. Raises ``JudgeDown`` when the judge answers nobody; its answers so far are kept."""
        verdicts: dict[int, Verdict] = {}
        self._stop.clear()
        self._silent = 0
        with ThreadPoolExecutor(max_workers=self.judge.threads) as threads:
            futures = {
                threads.submit(self._verdict, question, name): number
                for number, (question, name) in enumerate(zip(questions, self._names(questions), strict=True))
            }
            try:
                for done in as_completed(futures):
                    verdicts[futures[done]] = done.result()
                    if progress is not None:
                        progress(what, len(verdicts), len(questions))
                if verdicts and all(verdict.silent for verdict in verdicts.values()):
                    raise JudgeDown(f"{self.judge.name} answered nothing; {verdicts[0].failure}")
            except JudgeDown as error:
                finished = sum(_has_verdict(future) for future in futures)
                raise JudgeDown(
                    f"the judge is down: {error}; of {len(questions)} questions {finished} are finished and their answers "
                    f"kept in {self.folder}: run again to go on"
                ) from error
            finally:
                # Also for Ctrl-C: nothing new is asked, pauses end.
                self._stop.set()
                threads.shutdown(wait=False, cancel_futures=True)
        return [verdicts[number] for number in range(len(questions))]

    def _names(self, questions: Sequence[Question]) -> list[str]:
        """A name for each question, made of all that its answer depends on and of how many equal ones stand before it."""
        before = Counter[str]()
        names = []
        for question in questions:
            dialogue = [
                [turn.role, turn.text, [hashlib.sha256(image).hexdigest() for image in turn.images]]
                for turn in question.dialogue
            ]
            name = _digest([self.judge.name, dict(self.judge.settings), self.seed, question.judge_pass, dialogue])
            names.append(f"{name}-{before[name]}")
            before[name] += 1
        return names

    def _verdict(self, question: Question, name: str) -> Verdict:
        reason = ""
        for attempt in range(TRIES):
            try:
                reply = self._kept(question, name, attempt)
            except QuestionFailed as error:
                return Verdict(None, f"the judge did not answer: {error}", silent=True)
            except JudgeDown:
                self._stop.set()  # before this thread can take the next question
                raise
            try:
                return Verdict(parse_score(reply.text))
            except ValueError as error:
                reason = str(error)
        return Verdict(None, f"{reason} ({TRIES} tries)")

    def _kept(self, question: Question, name: str, attempt: int) -> Reply:
        path = self.folder / f"{_digest([name, attempt])}.json"
        reply = _read(path)
        new = reply is None
        if reply is None:
            seed = self._seed(path.stem)
            reply = self._patiently(question, seed)
            self._write(path, reply, question.judge_pass, attempt, seed)
        with self._lock:
            self.usage.add(reply, new=new)
            self.served[reply.served] += 1
        return reply

    def _patiently(self, question: Question, seed: int) -> Reply:
        pause = self._pause
        for left in range(self._retries, -1, -1):
            if self._stop.is_set():
                raise QuestionFailed("stopped")
            try:
                reply = self.judge.ask(question.dialogue, seed)
            except JudgeBusy as error:
                if not left:
                    self._count_silence(error)
                    raise
                self._stop.wait(min(_LONGEST_PAUSE, pause if error.pause is None else error.pause))
                pause *= 2
            except QuestionFailed as error:
                self._count_silence(error)
                raise
            else:
                with self._lock:
                    self._silent = 0
                return reply
        raise AssertionError("unreachable")

    def _count_silence(self, error: QuestionFailed) -> None:
        with self._lock:
            self._silent += 1
            silent = self._silent
        if isinstance(error, JudgeBusy) and not error.reached:
            raise JudgeDown(str(error)) from error
        if silent >= max(_PATIENCE, self.judge.threads):
            raise JudgeDown(
                f"{self.judge.name} left {silent} questions in a row unanswered, the last: {error}"
            ) from error

    def _seed(self, key: str) -> int:
        return random.SystemRandom().randrange(2**31) if self.seed is None else int(key[:8], 16) % 2**31

    def _write(self, path: Path, reply: Reply, judge_pass: int, attempt: int, seed: int) -> None:
        kept = {
            "judge": self.judge.name,
            "settings": dict(self.judge.settings),
            "pass": judge_pass,
            "try": attempt,
            "seed": seed,
            "reply": asdict(reply),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(kept, indent=1))


def _digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:32]


def _has_verdict(future: Future[Verdict]) -> bool:
    ended = future.done() and not future.cancelled() and future.exception() is None
    return ended and not future.result().silent


def _read(path: Path) -> Reply | None:
    try:
        return Reply(**json.loads(path.read_text(encoding="utf-8"))["reply"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # not one of ours, or damaged: asked anew and written over
