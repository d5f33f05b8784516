"""A model of any size with random weights, to measure what it costs: no file, no network, and pictures that mean nothing."""

from __future__ import annotations

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn

from mentor.checkpoint.build import allocate
from mentor.checkpoint.store import Bundle
from mentor.config.model import MentorConfig
from mentor.prompt import IMAGE_PLACEHOLDER

SUPPLY = 1 << 24
"""Random numbers that are drawn."""


def random_bundle(config: MentorConfig, dtype: torch.dtype | None = None, *, seed: int = 0) -> Bundle:
    """The model in ``dtype`` (None: each part in its own), without a copy of its weights in any other.

    To draw billions of numbers takes longer than all that is to be measured. So the matrices repeat the same normal numbers,
    each from another place on. The text tokenizers give every word the same id.
    """
    mentor, image_tokenizer = allocate(config, dtype)
    supply = torch.randn(SUPPLY, generator=torch.Generator().manual_seed(seed)).mul_(0.02)
    fill(mentor, supply)
    fill(image_tokenizer, supply)
    if config.null_condition == "frozen":  # a buffer
        _repeat(mentor.null_condition, supply, 0)
    connector = config.connector
    reads_queries = connector is not None and connector.kind == "query_former"
    return Bundle(
        config, mentor, image_tokenizer, _text_tokenizer(config), _tokenizer({"word": 1}) if reads_queries else None
    )


@torch.no_grad()
def fill(module: nn.Module, supply: Tensor) -> None:
    """Writes every parameter: norms 1, biases 0, matrices and tables from ``supply``, float32 [any]."""
    supplies: dict[torch.dtype, Tensor] = {}
    start = 0
    for name, weight in module.named_parameters():
        if weight.ndim == 1:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)
            continue
        numbers = supplies.setdefault(weight.dtype, supply.to(weight.dtype))
        start = _repeat(weight.detach(), numbers, start)


def _repeat(target: Tensor, supply: Tensor, start: int) -> int:
    """Writes ``supply`` from ``start`` on, again and again, into ``target``; returns where the next one may start."""
    numbers = target.as_strided(
        (target.numel(),), (1,)
    )  # in the order of the memory, which for convolutions is another one
    done = 0
    while done < len(numbers):
        part = supply[start : start + len(numbers) - done]
        numbers[done : done + len(part)].copy_(part)
        done += len(part)
        start = (start + len(part)) % len(supply)
    return start


def _text_tokenizer(config: MentorConfig) -> Tokenizer:
    language = config.language
    taken = (language.pad_token_id, language.image_token_id)
    word = next(number for number in range(language.vocab_size) if number not in taken)
    return _tokenizer({"word": word, IMAGE_PLACEHOLDER: language.image_token_id})


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="word"))
    tokenizer.pre_tokenizer = Whitespace()
    if IMAGE_PLACEHOLDER in vocabulary:
        tokenizer.add_tokens([AddedToken(IMAGE_PLACEHOLDER, normalized=False)])
    return tokenizer
