"""The named models: the two sizes of the mini, the paper's 2.31B model in its variants, and stock LlamaGen.

Where the paper and the released code disagree, ``as_released``, ``paper`` and ``fixed`` are the three answers; each is the
same model with other values, all of them in ``CONFLICTS`` (docs/reproducing.md says why).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple

from mentor.config.load import from_dict, merge, nested, to_dict
from mentor.config.model import (
    ConnectorConfig,
    DecoderConfig,
    ImageTokenizerConfig,
    LanguageConfig,
    MentorConfig,
    ProjectorConfig,
    VisionConfig,
)
from mentor.config.sampling import GenerationSettings

_MINILM = LanguageConfig(
    kind="bert", width=384, num_layers=3, num_heads=12, mlp_width=1536, vocab_size=30522, image_token_id=1
)
_PATCHIFY = ImageTokenizerConfig(backbone="patchify", downsample=8, codebook_size=2048)
_LARGER_PATCHIFY = replace(
    _PATCHIFY, codebook_size=8192, widths=(128, 256), encoder_blocks=(2, 4), decoder_blocks=(3, 6)
)


def _mini(name: str, *, width: int, num_heads: int, grid: int, image_tokenizer: ImageTokenizerConfig) -> MentorConfig:
    return MentorConfig(
        name=name,
        vision=VisionConfig(kind="efficientnet_lite0", image_size=64, layers=(1, 11), width=1136, tokens_per_image=16),
        language=_MINILM,
        connector=ConnectorConfig(hidden=768),
        projector=ProjectorConfig(),
        decoder=DecoderConfig(
            width=width, num_layers=8, num_heads=num_heads, vocab_size=image_tokenizer.codebook_size, grid=grid
        ),
        image_tokenizer=image_tokenizer,
        context=128,
        generation=GenerationSettings(cfg_scale=2.0, top_p=0.9),  # measured: docs/mini.md
    )


MINI_64 = _mini("mini-64", width=256, num_heads=4, grid=8, image_tokenizer=_PATCHIFY)
MINI_QUERY_FORMER = ConnectorConfig(
    kind="query_former",
    hidden=192,
    queries=4,
    num_layers=2,
    num_heads=4,
    mlp_width=768,
    vocab_size=30522,
    cross_attention_every=1,
)
CLIP_L14 = VisionConfig(
    kind="clip",
    image_size=224,
    layers=(-2,),
    width=1024,
    tokens_per_image=256,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    fit="crop",
    hidden_size=1024,
    num_layers=24,
    num_heads=16,
    mlp_width=4096,
    patch_size=14,
)
FLAN_T5_XL = LanguageConfig(
    kind="t5",
    width=2048,
    num_layers=24,
    num_heads=32,
    mlp_width=5120,
    vocab_size=32128,
    image_token_id=32100,
    head_width=64,
    dropout=0.1,
)
LLAMAGEN_XL = DecoderConfig(
    width=1280,
    num_layers=36,
    num_heads=20,
    vocab_size=16384,
    grid=32,
    token_dropout=0.1,
    residual_dropout=0.1,
    mlp_dropout=0.1,
)
VQ_16 = ImageTokenizerConfig(backbone="llamagen", downsample=16, codebook_size=16384)
VQ_8 = replace(VQ_16, downsample=8, channel_multipliers=(1, 2, 2, 4))
QUERY_FORMER = ConnectorConfig(
    kind="query_former",
    hidden=768,
    queries=32,
    num_layers=12,
    num_heads=12,
    mlp_width=3072,
    vocab_size=30523,
    dropout=0.1,
)


class Answers(NamedTuple):
    """The values of one key: in the released code, in the paper, and with the mistakes of either mended."""

    as_released: Any
    paper: Any
    fixed: Any


CONFLICTS: dict[str, Answers] = {
    "connector.hidden": Answers(0, 0, 0),
    "connector.activation": Answers("gelu", "gelu", "gelu"),
    "language.activation": Answers("gelu", "gelu_new", "gelu_new"),
    "projector.hidden": Answers(0, 4096, 0),
    "projector.activation": Answers("gelu_tanh", "silu", "gelu_tanh"),
    "decoder.prefix_rope": Answers("identity", "identity", "identity"),
    "null_condition": Answers("frozen", "learned", "learned"),
    "encoder_dtype": Answers("bfloat16", "float32", "float32"),
    "context": Answers(512, 512, 512),
    "decoder.grid": Answers(32, 32, 32),
    "image_tokenizer.downsample": Answers(16, 16, 16),
}
"""Dotted key of ``MentorConfig`` -> its answers. Equal ones are settled, but part of the released code says otherwise."""


def _answered(name: str, by: Literal["as_released", "paper", "fixed"]) -> MentorConfig:
    base = MentorConfig(
        name=name,
        vision=CLIP_L14,
        language=FLAN_T5_XL,
        connector=ConnectorConfig(),
        projector=ProjectorConfig(),
        decoder=LLAMAGEN_XL,
        image_tokenizer=VQ_16,
        context=512,
        generation=GenerationSettings(cfg_scale=7.5, temperature=0.9),  # of the released training scripts
    )
    values = to_dict(base)
    for key, answers in CONFLICTS.items():
        values = merge(values, nested(key, getattr(answers, by)))
    return from_dict(MentorConfig, values)


AS_RELEASED = _answered("xl", "as_released")
PAPER = _answered("xl-paper", "paper")
FIXED = _answered("xl-fixed", "fixed")
LLAMAGEN = replace(
    AS_RELEASED,
    name="llamagen-xl",
    vision=None,
    connector=None,
    language=replace(FLAN_T5_XL, activation="gelu_new"),  # read from FLAN-T5's own configuration there
    decoder=replace(LLAMAGEN_XL, prefix_rope="zero"),
    context=120,
    generation=GenerationSettings(cfg_scale=7.5, top_k=1000),  # of LlamaGen's script
)

PRESETS: dict[str, MentorConfig] = {
    config.name: config
    for config in (
        MINI_64,
        _mini("mini-128", width=256, num_heads=4, grid=16, image_tokenizer=_PATCHIFY),
        _mini("mini-8192", width=256, num_heads=4, grid=16, image_tokenizer=_LARGER_PATCHIFY),
        _mini("mini-wide", width=384, num_heads=6, grid=16, image_tokenizer=_LARGER_PATCHIFY),
        replace(MINI_64, name="mini-64-query-former", connector=MINI_QUERY_FORMER),
        AS_RELEASED,
        FIXED,
        PAPER,
        replace(FIXED, name="xl-multi-image", context=1280),
        replace(FIXED, name="xl-query-former", connector=QUERY_FORMER),
        LLAMAGEN,
        replace(LLAMAGEN, name="llamagen-xl-256", decoder=replace(LLAMAGEN.decoder, grid=16)),
    )
}
