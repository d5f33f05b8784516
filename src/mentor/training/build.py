"""Recipe -> (objective, feed): the one place that knows which objectives exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mentor.config.plan import planned_samples
from mentor.config.run import TrainConfig
from mentor.data.shards import SPLITS, read_manifest
from mentor.training.protocol import Feed, Objective
from mentor.training.start import check_origin, fill_image_tokenizer, not_heeded, starting_bundle

if TYPE_CHECKING:
    from mentor.checkpoint.store import Bundle
    from mentor.data.processor import Processor
    from mentor.models.image_tokenizer import ImageTokenizer
    from mentor.training.objective import Rows, TokenSampler

    _Data = tuple[Feed, Rows, dict[str, int], list[str]]

_GRID_PICTURES = 12


def build(config: TrainConfig, sampler: TokenSampler | None = None) -> tuple[Objective, Feed]:
    """The objective and the feed of a recipe. Raises ValueError for missing data or starting weights.

    ``sampler`` draws image tokens for the sample grids of the MENTOR objective.
    """
    # The starting weights must not depend on what the process drew before.
    torch.manual_seed(config.seed)
    if config.objective == "image_tokenizer":
        return _image_tokenizer(config)
    return _caption(config) if config.objective == "caption" else _mentor(config, sampler)


def _image_tokenizer(config: TrainConfig) -> tuple[Objective, Feed]:
    from mentor.data.corpus import Corpus
    from mentor.models.image_tokenizer import ImageTokenizer
    from mentor.training.tokenizer_data import TokenizerFeed, held_out_scenes
    from mentor.training.tokenizer_objective import TokenizerObjective

    if config.precision == "bf16_pure":
        raise ValueError(
            "precision: the image tokenizer moves its codebook itself and needs fp32 or bf16, not bf16_pure"
        )
    corpus, options = Corpus.load(config.data.corpus), config.tokenizer
    feed = TokenizerFeed(corpus, batch_size=config.data.batch_size, size=options.size, seed=config.seed)
    pictures, _ = held_out_scenes(corpus, count=options.held_out, seed=config.seed, size=128)
    tokenizer = ImageTokenizer(config.model.resolve().image_tokenizer)
    if config.init.image_tokenizer is not None:
        fill_image_tokenizer(tokenizer, config.init.image_tokenizer)

    def evaluate(model: ImageTokenizer) -> dict[str, float]:
        return _reconstruction_metrics(model, pictures)

    objective = TokenizerObjective(
        tokenizer, options, steps=config.schedule.steps, evaluator=evaluate, pictures=pictures[:_GRID_PICTURES]
    )
    if config.init.image_tokenizer is not None:
        tokens = config.data.batch_size * (options.size // tokenizer.config.downsample) ** 2
        objective.module.average.keep(tokenizer.quantize, tokens / tokenizer.config.codebook_size)
    return objective, feed


def _reconstruction_metrics(model: ImageTokenizer, pictures: Tensor) -> dict[str, float]:
    """PSNR in dB (mean over pictures float32 [n, 3, R, R] in [-1, 1]) and the number of different codes used."""
    device = next(model.parameters()).device
    psnr, used = [], set()
    for chunk in pictures.split(32):
        pixels = chunk.to(device)
        output = model(pixels)
        error = ((output.reconstruction.float().clamp(-1, 1) - pixels) / 2).square().mean(dim=(1, 2, 3))
        psnr.append(-10 * error.log10())
        used.update(output.codes.unique().tolist())
    return {"psnr": float(torch.cat(psnr).mean()), "codes_used": float(len(used))}


def _mentor(config: TrainConfig, sampler: TokenSampler | None) -> tuple[Objective, Feed]:
    from mentor.data.processor import Processor
    from mentor.training.objective import MentorObjective

    bundle = starting_bundle(config)
    processor = Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer)
    make = _from_shards if config.data.precomputed else _from_sources
    feed, held_out, counts, notes = make(config, bundle, processor)
    objective = MentorObjective(
        bundle,
        processor,
        config.mentor,
        held_out,
        batch_size=config.data.batch_size,
        packing=config.data.packing,
        sampler=sampler,
        train_counts=counts,
        notes=notes,
        card=_card(config),
    )
    return objective, feed


def _caption(config: TrainConfig) -> tuple[Objective, Feed]:
    from mentor.data.processor import Processor
    from mentor.data.recipe_samples import recipe_samples
    from mentor.training.caption_objective import CaptionObjective, load_answerer
    from mentor.training.live_feed import LiveFeed

    if config.data.precomputed or config.init.answerer is None:
        raise ValueError("the caption objective needs init.answerer, the folder of a T5, and data.precomputed=false")
    bundle, data = starting_bundle(config), config.data
    processor = Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer)
    samples = recipe_samples(data, config.seed, processor, _rejects(config))
    measured = min(config.mentor.evaluation_samples, data.held_out)
    feeds = {
        split: LiveFeed(
            samples[split],
            processor,
            # As many as are measured, where that is less than a batch.
            batch_size=data.batch_size if split == "train" else min(data.batch_size, max(1, measured)),
            length_multiple=data.length_multiple,
            seed=config.seed,
        )
        for split in SPLITS
    }
    batches = -(-measured // feeds["held_out"].batch_size)
    held_out = [feeds["held_out"].batch(index) for index in range(batches)]
    return CaptionObjective(bundle, load_answerer(config.init.answerer), held_out, card=_card(config)), feeds["train"]


def _rejects(config: TrainConfig) -> Path:
    return Path(config.data.rejects or f"rejects-{config.name.replace('/', '-')}.jsonl")


def _from_shards(config: TrainConfig, bundle: Bundle, processor: Processor) -> _Data:
    from mentor.data.shards import PrecomputedDataset
    from mentor.training.feed import MentorFeed

    if config.data.shards is None:
        raise ValueError("data.shards is needed: the folder written by `mentor precompute`; or data.precomputed=false")
    origin = read_manifest(Path(config.data.shards))["origin"]
    check_origin(config, origin, bundle)
    # What is learned may be less than the shards hold; what is measured stays the same.
    train = PrecomputedDataset(config.data.shards, "train", without=config.data.left_out)
    held_out = PrecomputedDataset(config.data.shards, "held_out")
    feed = MentorFeed(
        train,
        processor,
        batch_size=config.data.batch_size,
        length_multiple=config.data.length_multiple,
        seed=config.seed,
        packing=config.data.packing,
    )
    return feed, held_out, train.counts(), not_heeded(config, origin)


def _from_sources(config: TrainConfig, bundle: Bundle, processor: Processor) -> _Data:
    from mentor.data.recipe_samples import recipe_samples
    from mentor.training.live_feed import LiveFeed, LiveRows

    samples = recipe_samples(config.data, config.seed, processor, _rejects(config))
    feed = LiveFeed(
        samples["train"],
        processor,
        batch_size=config.data.batch_size,
        length_multiple=config.data.length_multiple,
        seed=config.seed,
    )
    held_out = LiveRows(samples["held_out"], config.data.held_out, bundle, processor)
    return feed, held_out, planned_samples(config), []


def _card(config: TrainConfig) -> str:
    samples = config.data.batch_size * config.optim.accumulate * config.schedule.steps
    return (
        f"Last trained by `mentor train {config.name}` ({config.schedule.steps:,} steps, {samples:,} samples, "
        f"seed {config.seed}), which starts from `{config.init.bundle or config.init.image_tokenizer}`."
    )
