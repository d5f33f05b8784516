"""The samples of a recipe, for training and held out: its sources opened and mixed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mentor.config.data import DataConfig
from mentor.data.prepared import Fits
from mentor.data.processor import Processor
from mentor.data.rejects import Rejects
from mentor.data.shards import SPLITS
from mentor.data.source_mixture import SourceMixture
from mentor.data.sources import Opened, RecordSource, Source, open_source


def recipe_samples(data: DataConfig, seed: int, processor: Processor, rejects: Path) -> dict[str, SourceMixture]:
    """``train`` and ``held_out`` of a recipe's data; broken records go to the file ``rejects``.

    Raises ValueError for a source that is not there, holds nothing, or is described wrongly.
    """
    configs = [source for source in data.all_sources if source.weight > 0]
    if not configs:
        raise ValueError(
            "data.sources: expected at least one source with a weight above 0 (or data.weights for the corpus)"
        )
    opened: Opened = {}
    sources: dict[str, list[Source]] = {split: [] for split in SPLITS}
    for config in configs:
        of_split = partial(open_source, config, size=processor.config.image_size, seed=seed, opened=opened)
        train = of_split(split="train")
        sources["train"].append(train)
        # Records are divided by the pictures that they draw, whoever reads them.
        sources["held_out"].append(train if isinstance(train, RecordSource) else of_split(split="held_out"))
    return {
        split: SourceMixture(
            sources[split],
            [config.weight for config in configs],
            split=split,
            seed=seed,
            held_out=data.held_out,
            accept=Fits(processor),
            rejects=Rejects(data.reject_limit, rejects),
        )
        for split in SPLITS
    }


def index_sources(data: DataConfig) -> None:
    """Finds, and keeps on the disk, what reading the sources' files for the first time finds: records, tasks, targets, ...

    Raises ValueError as ``recipe_samples`` does.
    """
    opened: Opened = {}
    for config in data.all_sources:
        if config.weight > 0 and config.kind not in ("corpus", "pictures"):
            source = open_source(config, split="train", size=1, seed=0, opened=opened)
            if data.held_out:
                source.target_numbers()
