"""The tiny model with a Query-Former: an image of 4 visual tokens becomes 3, by what the prompt says of it."""

from __future__ import annotations

from dataclasses import replace

import torch

from mentor.checkpoint.store import Bundle
from mentor.config.model import ConnectorConfig
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from tests.generation.tiny_bundle import CONFIG, WORDS, text_tokenizer

QUERY_FORMER = replace(
    CONFIG,
    name="tiny-query-former",
    connector=ConnectorConfig(
        kind="query_former",
        hidden=16,
        queries=3,
        num_layers=2,
        num_heads=2,
        mlp_width=32,
        vocab_size=len(WORDS),
        max_positions=16,
    ),
)


def query_former_bundle(context: int = CONFIG.context) -> Bundle:
    """The same weights every time; prompts may have ``context`` tokens."""
    config = replace(QUERY_FORMER, context=context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mentor, image_tokenizer = Mentor(config).eval(), ImageTokenizer(config.image_tokenizer).eval()
        # The weights start small: enlarged, so that each input moves the logits.
        for module in (mentor.encoder.vision, mentor.projector, mentor.decoder.output):
            for weight in module.parameters():
                torch.nn.init.normal_(weight)
        for weight in mentor.encoder.connector.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.6)
    return Bundle(config, mentor, image_tokenizer, text_tokenizer(), text_tokenizer())
