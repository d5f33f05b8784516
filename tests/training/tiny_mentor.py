"""A tiny MENTOR with precomputed samples of random tokens, for the tests of its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from mentor.data.processor import Processor
from mentor.data.shards import PrecomputedDataset, Row, shard_name, write_manifest, write_shard
from tests.generation.tiny_bundle import CONFIG, text_tokenizer

TEXTS = {
    "text_to_image": ["a red fox", "a blue hat on the beach", "a fox in the hat"],
    "subject": [
        "The fox in <image>.\na fox on the beach",
        "The hat in <image>.\na hat",
        "The beach in <image>.\na fox",
    ],
    "multi": ["The fox in <image>.\nThe hat in <image>.\na fox", "The hat in <image>.\nThe fox in <image>.\na red hat"],
}


def processor() -> Processor:
    return Processor(CONFIG, text_tokenizer())


def row(index: int) -> Row:
    """Sample ``index``: another task, text, images and tokens each time."""
    task = list(TEXTS)[index % 3]
    text = TEXTS[task][index // 3 % len(TEXTS[task])]
    generator = torch.Generator().manual_seed(index)
    vision, tokens = CONFIG.vision, CONFIG.decoder.num_tokens
    features = torch.randn(text.count("<image>"), vision.tokens_per_image, vision.width, generator=generator)
    return Row(
        ids=torch.tensor(processor().encode_text(text)),
        features=features.half(),
        codes=torch.randint(CONFIG.decoder.vocab_size, (tokens,), generator=generator),
        object_mask=torch.rand(tokens, generator=generator) < 0.4,
        task=task,
    )


def rows(count: int) -> list[Row]:
    return [row(index) for index in range(count)]


def write(folder: Path, train: Sequence[Row], held_out: Sequence[Row], shard_size: int = 5) -> None:
    """A folder of shards, ``shard_size`` samples each."""
    folder.mkdir(parents=True)
    numbers = {}
    for split, samples in (("train", train), ("held_out", held_out)):
        parts = [samples[i : i + shard_size] for i in range(0, len(samples), shard_size)]
        numbers[split] = len(parts)
        for number, part in enumerate(parts):
            write_shard(folder / shard_name(split, number), part)
    write_manifest(folder, {"shards": numbers, "origin": {}})


def dataset(folder: Path, count: int) -> PrecomputedDataset:
    write(folder, rows(count), rows(3))
    return PrecomputedDataset(folder, "train")
