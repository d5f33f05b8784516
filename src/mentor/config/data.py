"""What the model sees: the ``data`` section of a recipe. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mentor.config.sources import SourceConfig, check_options


@dataclass(frozen=True)
class DataConfig:
    """What the model sees."""

    corpus: str | None = None
    """Folder of cut-outs and backgrounds; null: the corpus found by ``Corpus.load``."""
    shards: str | None = None
    """Folder written by ``mentor precompute`` (MENTOR objective only)."""
    weights: dict[str, float] = field(default_factory=dict)
    """Task name -> share of the samples; the shares need not add up to 1. Short for one source, the corpus.

    A share of 0 leaves the task out of training even where ``shards``, made by another recipe, hold samples of it.
    """
    folder: str | None = None
    """Folder that relative paths in ``sources`` start from."""
    sources: tuple[SourceConfig, ...] = ()
    """Where samples come from, in place of ``corpus`` and ``weights``."""
    defaults: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Format -> options of all sources of it, for example ``released: {image_only: 0.1}``; a source's own win. ``corpus``: also
    those of the corpus that ``weights`` stands for."""
    precomputed: bool = True
    """Whether training reads ``shards``. False: workers read and compose pictures, the device makes codes and features."""
    samples: int = 100_000
    """Training samples that ``mentor precompute`` draws."""
    held_out: int = 512
    """Samples of unseen subjects or records that are kept apart for the evaluation."""
    reject_limit: float = 0.01
    """Largest share of broken records; more of them stop the run."""
    rejects: str | None = None
    """File that takes a line for every broken record; null: ``rejects.jsonl`` beside the shards, or named after the recipe."""
    batch_size: int = 64
    """Samples in one forward and backward pass."""
    packing: bool = True
    """Whether samples lie one after the other in one row. False: every sample is padded to the longest of its batch."""
    length_multiple: int = 8
    """Without packing: condition lengths are rounded up to a multiple of this, which bounds the number of compiled shapes."""
    workers: int = 0
    """Processes that prepare batches ahead, beside each training process (8 GPUs: 8 times as many); 0: in it."""

    def __post_init__(self) -> None:
        if self.sources and (self.weights or self.corpus):
            raise ValueError("data: give sources, or corpus and weights for the corpus alone, not both")
        for name, options in self.defaults.items():
            check_options(name, options)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The tasks whose share is 0."""
        return tuple(task for task, weight in self.weights.items() if not weight)

    @property
    def all_sources(self) -> tuple[SourceConfig, ...]:
        """``sources``, or the one that ``corpus`` and ``weights`` stand for."""
        if self.sources or not self.weights:
            return tuple(source.within(self.folder, self.defaults) for source in self.sources)
        return (SourceConfig("corpus", path=self.corpus, options={"tasks": self.weights}).within(None, self.defaults),)
