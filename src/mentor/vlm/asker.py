"""Questions to one model: tried again while it is busy, kept on disk as they were answered, never asked twice."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mentor.files import write_text
from mentor.vlm.client import ModelBusy, ModelDown, QuestionFailed, Reply, Turn, VisionLanguageModel

RETRIES = 8
"""How often a request that found the model busy or silent is sent again, with doubled pauses: about two minutes."""
PATIENCE = 8
"""How many questions in a row may stay unanswered before the model counts as down."""
_LONGEST_PAUSE = 60.0


@dataclass
class Usage:
    """What the answers took; ``asked`` of them were new, the others lay on disk."""

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


class Asker:
    """Asks one model, keeps every raw answer under ``folder``, and never asks again what lies there; for many threads.

    ``seed``: with one, every question has its own seed derived from it; None draws seeds at random. Either way the seed stands
    in the kept answer. ``retries`` and ``pause`` (seconds, doubled each time) are for a model that is busy or silent.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        folder: Path,
        *,
        seed: int | None = None,
        retries: int = RETRIES,
        pause: float = 0.5,
        patience: int = PATIENCE,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries: expected 0 or more, got {retries}")
        self.model, self.folder, self.seed = model, folder, seed
        self.usage, self.served = Usage(), Counter[str]()
        self._retries, self._pause, self._patience = retries, pause, patience
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._silent = 0
        self._answered = False

    def start(self) -> None:
        """Forgets that it was stopped, and how long the model was silent."""
        self._stop.clear()
        self._silent = 0

    def stop(self) -> None:
        """Nothing new is asked, pauses end; for all threads, until ``start``."""
        self._stop.set()

    def name(self, dialogue: Sequence[Turn], *also: Any) -> str:
        """A name made of all that an answer depends on, and of ``also``."""
        turns = [
            [turn.role, turn.text, [hashlib.sha256(image).hexdigest() for image in turn.images]] for turn in dialogue
        ]
        return digest([self.model.name, dict(self.model.settings), self.seed, *also, turns])

    def ask(
        self, dialogue: Sequence[Turn], name: str, *, attempt: int = 0, note: Mapping[str, Any] | None = None
    ) -> Reply:
        """The answer kept for ``name`` and ``attempt``, else a new one, kept with ``note``.

        Raises:
            QuestionFailed: no answer to this question, or stopped meanwhile.
            ModelDown: the model cannot be reached, refuses, or left many questions in a row unanswered.
        """
        stem = digest([name, attempt])
        path = self.folder / stem[:2] / f"{stem}.json"  # millions of files are too many for one folder
        reply = _read(path)
        new = reply is None
        if reply is None:
            seed = random.SystemRandom().randrange(2**31) if self.seed is None else int(path.stem[:8], 16) % 2**31
            reply = self._patiently(dialogue, seed)
            kept = {
                "model": self.model.name,
                "settings": dict(self.model.settings),
                **(note or {}),
                "try": attempt,
                "seed": seed,
                "reply": asdict(reply),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(kept, indent=1))
        with self._lock:
            self._answered = True
            self.usage.add(reply, new=new)
            self.served[reply.served] += 1
        return reply

    def _patiently(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        pause = self._pause
        for left in range(self._retries, -1, -1):
            if self._stop.is_set():
                raise QuestionFailed("stopped")
            try:
                reply = self.model.ask(dialogue, seed)
            except ModelBusy as error:
                if not left:
                    self._count_silence(error)
                    raise
                # At random moments, or all threads come back together and find the model as busy as before.
                wait = (
                    pause * random.uniform(0.5, 1.0) if error.pause is None else error.pause * random.uniform(1.0, 1.2)
                )
                self._stop.wait(min(_LONGEST_PAUSE, wait))
                pause *= 2
            except QuestionFailed as error:
                if not self._answered:  # a model that answers others refuses this question alone: a content filter
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
        if isinstance(error, ModelBusy) and not error.reached:
            raise ModelDown(str(error)) from error
        if silent >= max(self._patience, self.model.threads):
            raise ModelDown(
                f"{self.model.name} left {silent} questions in a row unanswered, the last: {error}"
            ) from error


def digest(of: Any) -> str:
    """32 hexadecimal digits that stand for a JSON-ready value."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:32]


def _read(path: Path) -> Reply | None:
    try:
        return Reply(**json.loads(path.read_text(encoding="utf-8"))["reply"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # not one of ours, or damaged: asked anew and written over
