"""A model of a few thousand random weights, all boxes there: prompts, images and seeds each change the picture."""

from __future__ import annotations

from dataclasses import replace

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from mentor.checkpoint.store import Bundle
from mentor.config.model import (
    ConnectorConfig,
    DecoderConfig,
    ImageTokenizerConfig,
    LanguageConfig,
    MentorConfig,
    ProjectorConfig,
    VisionConfig,
)
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor

WORDS = ["[PAD]", "<image>", "[UNK]", "the", "in", "a", "red", "blue", "fox", "hat", "on", "beach", "image", "is", "."]

CONFIG = MentorConfig(
    name="tiny",
    vision=VisionConfig(
        kind="clip", image_size=32, layers=(-2,), width=16, tokens_per_image=4,
        hidden_size=16, num_layers=2, num_heads=2, mlp_width=32, patch_size=16,
    ),
    language=LanguageConfig(
        kind="bert", width=16, num_layers=1, num_heads=2, mlp_width=32, vocab_size=len(WORDS), image_token_id=1
    ),
    connector=ConnectorConfig(),
    projector=ProjectorConfig(),
    decoder=DecoderConfig(width=32, num_layers=2, num_heads=2, vocab_size=64, grid=4, mlp_width=64),
    image_tokenizer=ImageTokenizerConfig(
        backbone="patchify", downsample=8, codebook_size=64, widths=(8, 16),
        encoder_blocks=(1, 1), decoder_blocks=(1, 1),
    ),
    context=24,
)  # fmt: skip


def text_tokenizer() -> Tokenizer:
    """Whole words, lower case, everything else unknown."""
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_tokens([AddedToken("<image>", normalized=False)])
    return tokenizer


def tiny_bundle(seed: int = 0, context: int = CONFIG.context) -> Bundle:
    """The same weights for the same seed; prompts may have ``context`` tokens."""
    config = replace(CONFIG, context=context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mentor, image_tokenizer = Mentor(config).eval(), ImageTokenizer(config.image_tokenizer).eval()
        # The weights start small: enlarged, so that each input moves the logits.
        for module in (mentor.encoder.vision, mentor.encoder.connector, mentor.projector, mentor.decoder.output):
            for weight in module.parameters():
                torch.nn.init.normal_(weight)
    return Bundle(config, mentor, image_tokenizer, text_tokenizer())
