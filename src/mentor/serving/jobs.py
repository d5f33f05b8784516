"""What the queue is asked for, and what it tells whoever asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import Image

from mentor.config.sampling import GenerationSettings
from mentor.prompt import Prompt


class Busy(Exception):
    """More pictures wait than the server takes; ``seconds``: when to ask again."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class Closed(Exception):
    """The server is stopping."""


@dataclass(frozen=True)
class Done:
    """Picture ``index`` of a request, finished."""

    index: int
    image: Image.Image


@dataclass(frozen=True)
class Partial:
    """Picture ``index`` of a request after ``rows`` of its rows of tokens; the rest is grey."""

    index: int
    rows: int
    image: Image.Image


@dataclass(frozen=True)
class Failed:
    """No more pictures will come."""

    error: Exception


Event = Done | Partial | Failed


@dataclass(eq=False)
class Request:
    """Pictures of one prompt, one for each seed."""

    prompt: Prompt
    seeds: Sequence[int]
    settings: GenerationSettings
    tell: Callable[[Event], object]
    """Called from the drawing thread; must return at once."""
    partial_rows: frozenset[int] = frozenset()
    """After how many rows of tokens (of ``decoder.grid``) a picture is shown unfinished."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set by whoever no longer wants the pictures."""
    shown: set[tuple[int, int]] = field(default_factory=set)
    """(index, rows) of the unfinished pictures that were told, so that a batch drawn again tells none twice."""
