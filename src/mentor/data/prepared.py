"""A sample as far as it can be made without a model: ids, pixels, and which tokens show what the prompt asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mentor.data.example import Example
from mentor.data.processor import Processor
from mentor.data.tasks import Sample

OBJECT_COVER = 0.25
"""A token belongs to the object when the object covers this share of its pixels."""


class Samples(Protocol):
    """An endless stream of samples by number."""

    def sample(self, index: int) -> Example | Sample:
        """Sample ``index``, always the same one."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A sample before the models have seen it.

    Arrays, not tensors: a tensor from a worker process keeps a file open for as long as anyone holds it, and shards hold
    thousands.
    """

    ids: list[int]
    queries: list[list[int]]
    target: NDArray[np.uint8]
    """[R, R, 3]."""
    references: list[NDArray[np.float32]]
    """float32 [3, R', R'] each, as the vision tower takes them."""
    object_mask: NDArray[np.bool_]
    """[L]"""
    task: str
    answer: str = ""


def prepare(sample: Example | Sample, processor: Processor) -> Prepared:
    """ValueError for a prompt that the model cannot take."""
    grid, mask = processor.config.decoder.grid, sample.object_mask
    return Prepared(
        ids=processor.encode_text(sample.prompt.text),
        queries=processor.encode_queries(sample.prompt),
        target=np.asarray(sample.target),
        references=[processor.pixels(image).numpy() for image in sample.prompt.images],
        object_mask=np.ones(grid * grid, bool) if mask is None else token_mask(mask, grid * grid),
        task=sample.task,
        answer=sample.answer if isinstance(sample, Example) else "",
    )


class Fits:
    """Says whether a model can take a sample: raises ValueError for a prompt beyond its context."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    def __call__(self, example: Example) -> None:
        self.processor.check(example.prompt)


def token_mask(mask: NDArray[np.bool_], tokens: int) -> NDArray[np.bool_]:
    """Pixels that show the object, bool [R, R] -> tokens that do, bool [L], row-major."""
    grid = round(tokens**0.5)
    side = mask.shape[0] // grid
    cover = mask.reshape(grid, side, grid, side).mean(axis=(1, 3))
    shown: NDArray[np.bool_] = (cover >= OBJECT_COVER).reshape(-1)
    return shown
