"""The samples of a recipe, for training and held out: its sources opened and mixed."""

from __future__ import annotations

from pathlib import Path

from mentor.config.data import DataConfig
from mentor.data.prepared import Fits
from mentor.data.processor import Processor
from mentor.data.rejects import Rejects
from mentor.data.shards import SPLITS
from mentor.data.source_mixture import SourceMixture
from mentor.data.sources import open_source


def recipe_samples(data: DataConfig, seed: int, processor: Processor, rejects: Path) -> dict[str, SourceMixture]:
    """``train`` and ``held_out`` of a recipe's data; broken records go to the file ``rejects``.

    Raises ValueError for a source that is not there, holds nothing, or is described wrongly.
    """
    configs = [source for source in data.all_sources if source.weight > 0]
    if not configs:
        raise ValueError(
            "data.sources: expected at least one source with a weight above 0 (or data.weights for the corpus)"
        )
    samples = {}
    for split in SPLITS:
        size = processor.config.image_size
        mixture = SourceMixture(
            [open_source(config, split=split, size=size, seed=seed) for config in configs],
            [config.weight for config in configs],
            split=split,
            seed=seed,
            held_out=data.held_out,
            accept=Fits(processor),
            rejects=Rejects(data.reject_limit, rejects),
        )
        samples[split] = mixture
    return samples
