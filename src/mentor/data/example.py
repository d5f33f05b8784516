"""What a data set's record becomes, and what to raise when it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.prompt import Prompt


class ReadImage(Protocol):
    """Reads the pictures that a record names."""

    def __call__(self, name: str, *, mask: bool = False) -> Image.Image:
        """RGB, or black and white ("L") where it is a mask; ``BadRecord`` where there is none."""
        ...


Peers = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Numbers of a source's records -> those of them that belong to the same split."""


class BadRecord(ValueError):
    """A record that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class Example:
    """One training sample, whatever data set it comes from."""

    prompt: Prompt
    target: Image.Image
    """RGB, R x R pixels: the picture to draw."""
    task: str
    object_mask: NDArray[np.bool_] | None = None
    """[R, R]: what the prompt asks for, where the record tells it; None: the whole picture."""
    answer: str = ""
    """The text that the language model should answer with (caption objective only)."""


def checked_prompt(text: str, images: Sequence[Image.Image] = (), queries: Sequence[str] = ()) -> Prompt:
    """A prompt from a record's parts; ``BadRecord`` where they do not fit together."""
    try:
        return Prompt(text, images, queries)
    except ValueError as error:
        raise BadRecord(str(error)) from error
