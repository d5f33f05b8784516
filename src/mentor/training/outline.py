"""What a recipe comes to, told without its weights and data: the model is built on the meta device."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mentor.checkpoint.hub import here
from mentor.checkpoint.layout import shipped
from mentor.config.plan import planned_samples
from mentor.config.run import TrainConfig
from mentor.data.shard_patterns import expanded
from mentor.data.shards import PrecomputedDataset, read_manifest
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from mentor.training.distributed import Processes
from mentor.training.lora import add_adapters, is_adapter
from mentor.training.plan import choose_strategy, describe
from mentor.training.start import RANDOM, not_heeded
from mentor.training.tokenizer_objective import TokenizerModule
from mentor.training.weights import freeze


def outline(config: TrainConfig, processes: Processes) -> list[str]:
    """Lines as ``describe`` gives them, and where samples and weights come from. ValueError for mistakes in the recipe."""
    with torch.device("meta"):
        module: nn.Module
        if config.objective == "image_tokenizer":
            module = TokenizerModule(ImageTokenizer(config.model.resolve().image_tokenizer))
        else:
            module = Mentor(config.model.resolve())
        if config.lora is not None:
            add_adapters(module, config.lora, config.seed)
    freeze(module, config.trainable, is_adapter)
    shareable, shardable = config.objective != "image_tokenizer", config.objective != "caption"
    strategy = choose_strategy(config, module, processes, shareable=shareable, shardable=shardable)
    return describe(config, module, processes, strategy, [*_samples(config), *_places(config)])


def _samples(config: TrainConfig) -> list[str]:
    shards = config.data.shards
    if config.data.precomputed and shards is not None and Path(shards).is_dir():
        counts = PrecomputedDataset(shards, "train", without=config.data.left_out).counts()
        notes = not_heeded(config, read_manifest(Path(shards))["origin"])
    else:
        counts, notes = planned_samples(config), []
    told = [f"samples by task: {', '.join(f'{task} {count:,}' for task, count in counts.items())}"] if counts else []
    return told + notes


def _places(config: TrainConfig) -> list[str]:
    """What the run reads, marked where it is not there."""
    init, lines = config.init, []
    if config.stage is not None:
        lines.append(f"answers to the conflicts: {config.variant}")
    start = {"": init.bundle or init.image_tokenizer, **init.parts, "query former": init.query_former}
    start["answers by"] = init.answerer
    for part, place in start.items():
        if place is not None:
            lines.append(f"start{f' ({part})' if part else ''}: {place}{_absent(place)}")
    for source in config.data.all_sources:
        if source.path is not None:
            # A pattern of shards is as much there as its folder.
            place = str(Path(expanded(source.path)[0]).parent) if source.kind == "webdataset" else source.path
            lines.append(f"source: {source.path} ({source.kind}, weight {source.weight:g}){_absent(place)}")
    return lines


def _absent(place: str) -> str:
    return "" if here(place) is not None or place == RANDOM or shipped(place) else " (not here)"
