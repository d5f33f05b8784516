"""A trained decoder goes over to another image tokenizer: its embeddings and head start anew from what codes mean.

Where two image tokenizers divide a picture into the same grid, each code of the one lies at places where the other has codes of
its own: counted over many pictures, that tells what a new code means in old ones. Layers keep their weights. (The same idea as
the mapping of vocabularies by shared meaning that language models use, WECHSEL: arXiv 2112.06598.)

V old codes, W new codes, D decoder width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor

from mentor.checkpoint.build import allocate
from mentor.checkpoint.store import Bundle
from mentor.checkpoint.strict import load_strict
from mentor.models.image_tokenizer import ImageTokenizer

TABLES = ("decoder.tok_embeddings.weight", "decoder.output.weight")
"""What has a row for each code."""
PRIOR = 1.0
"""Sightings that every new code starts with, spread as the old codes are: it decides alone for codes that no picture has."""


def count_codes(old: ImageTokenizer, new: ImageTokenizer, batches: Iterable[Tensor]) -> Tensor:
    """How often code ``w`` of ``new`` lies where ``old`` has code ``v``: float32 [W, V].

    batches: pixels [B, 3, R, R] in [-1, 1]. ValueError where the tokenizers divide pictures into different grids, or where
    there is no picture.
    """
    if old.config.downsample != new.config.downsample:
        raise ValueError(
            f"codes can only be compared on one grid: a token of the model's own tokenizer covers {old.config.downsample} px, "
            f"one of the other {new.config.downsample} px"
        )
    rows, columns = new.config.codebook_size, old.config.codebook_size
    counts = torch.zeros(rows * columns)
    for pixels in batches:
        pairs = (new.encode(pixels) * columns + old.encode(pixels)).flatten().cpu()
        counts.index_add_(0, pairs, torch.ones(len(pairs)))
    if not counts.any():
        raise ValueError("at least one picture is needed to compare the codes")
    return counts.view(rows, columns)


def retokenized(bundle: Bundle, image_tokenizer: ImageTokenizer, counts: Tensor) -> Bundle:
    """``bundle`` with another image tokenizer; a code's rows are the mean of the old rows at its places.

    counts: float32 [W, V] from ``count_codes``. The decoder has to be trained further before it draws as well as before.
    ValueError where ``counts`` is of other codebooks.
    """
    size = image_tokenizer.config.codebook_size
    if counts.shape != (size, bundle.config.decoder.vocab_size):
        raise ValueError(
            f"expected counts of {size} new and {bundle.config.decoder.vocab_size} old codes, got {tuple(counts.shape)}"
        )
    shares = counts + PRIOR * counts.sum(0) / counts.sum()
    shares /= shares.sum(1, keepdim=True)
    config = dataclasses.replace(
        bundle.config,
        decoder=dataclasses.replace(bundle.config.decoder, vocab_size=size),
        image_tokenizer=image_tokenizer.config,
    )
    state: dict[str, Tensor] = dict(bundle.mentor.state_dict())
    state |= {name: shares @ state[name].float() for name in TABLES}
    mentor, codec = allocate(config)
    load_strict(mentor, state, "the retokenized model")
    load_strict(codec, image_tokenizer.state_dict(), "the image tokenizer")
    return dataclasses.replace(bundle, config=config, mentor=mentor, image_tokenizer=codec, card=None)
