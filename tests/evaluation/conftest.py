"""A painter that answers with finished pictures, so that judging is tested without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from PIL import Image

from mentor.data.corpus import Corpus
from mentor.models.perceptual import STLPIPS
from mentor.prompt import Prompt


@dataclass
class FakePainter:
    """Answers every prompt by ``answer``; ``calls`` counts the pictures it was asked for."""

    answer: Callable[[Prompt, int], Image.Image]
    size: int = 64
    name: str = "fake"
    fingerprint: str = "one"
    calls: int = 0
    batches: list[int] = field(default_factory=list)

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image.Image]:
        self.calls += len(prompts)
        self.batches.append(len(prompts))
        return [self.answer(prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]


@pytest.fixture(scope="session")
def trunk() -> STLPIPS:
    return STLPIPS()


@pytest.fixture(scope="session")
def real_corpus() -> Corpus:
    """The committed pack; tests of accuracy need its hundreds of real subjects."""
    try:
        return Corpus.load()
    except ValueError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def small_corpus(real_corpus: Corpus) -> Corpus:
    """40 held-out subjects with several pictures and 80 training cut-outs of the committed pack: quick to describe."""
    families = [family for family in real_corpus.by_identity("test").values() if len(family) > 1]
    held_out = [cutout for family in families[:: max(1, len(families) // 40)] for cutout in family]
    train = real_corpus.split("train").cutouts
    return Corpus(held_out + train[:: max(1, len(train) // 80)], [])
