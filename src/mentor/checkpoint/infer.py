"""What a checkpoint is, told by its shapes: sizes are read from the tensors, everything else is a preset's.

``outline`` is always our names (``official.rename``) with tensors on the meta device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from mentor.checkpoint.shapes import Shapes
from mentor.config.load import from_dict, merge, to_dict
from mentor.config.model import ImageTokenizerConfig, MentorConfig
from mentor.config.presets import PRESETS, VQ_16
from mentor.models.decoder import mlp_width

HEAD_WIDTHS = {3200: 100, 4096: 128}
"""Width of one head in LlamaGen's decoders of these widths (GPT-3B, GPT-7B); in all smaller ones and in CLIP it is 64."""

PREFIX_ROPE: dict[str, Literal["identity", "zero"]] = {
    "gpt": "zero",
    "gpt-empty-fix": "identity",
    "gpt-zero-fix": "identity",
}
"""What the reference's argument ``--fix`` means for the positions of the prefix."""

Values = dict[str, Any]


def infer_image_tokenizer(
    outline: Mapping[str, Tensor], given: Mapping[str, Any] | None = None
) -> ImageTokenizerConfig:
    """The configuration of one of LlamaGen's image tokenizers; ``given`` (``ImageTokenizerConfig`` keys) overrules."""
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"image_tokenizer: expected keys and values, got {given!r}")
    shapes = Shapes(outline)
    channels, levels = shapes.size(r"encoder\.conv_in\.weight", 0), shapes.count(r"encoder\.conv_blocks\.(\d+)\.")
    values: Values = {
        "channels": channels,
        "latent_channels": shapes.size(r"encoder\.conv_out\.weight", 0),
        "blocks_per_level": shapes.count(r"encoder\.conv_blocks\.0\.res\.(\d+)\."),
        "codebook_size": shapes.size(r"quantize\.embedding\.weight", 0),
        "code_width": shapes.size(r"quantize\.embedding\.weight", 1),
    }
    if channels and levels:
        widths = [shapes.size(rf"encoder\.conv_blocks\.{level}\.res\.\d+\.conv2\.weight", 0) for level in range(levels)]
        values["channel_multipliers"] = [(width or channels) // channels for width in widths]
        values["downsample"] = 2 ** (levels - 1)
    return from_dict(ImageTokenizerConfig, merge(_over(to_dict(VQ_16), values), given or {}))


def infer_model(
    outline: Mapping[str, Tensor],
    image_tokenizer: ImageTokenizerConfig,
    base: MentorConfig,
    *,
    name: str,
    borrowed: Mapping[str, Tensor] | None = None,
    image_size: int | None = None,
    image_token_id: int | None = None,
    given: Mapping[str, Any] | None = None,
) -> MentorConfig:
    """The configuration of a MENTOR or LlamaGen checkpoint: sizes from its shapes, the rest from ``base``.

    ``borrowed`` are tensors that come from elsewhere: the encoder's number type is that of the checkpoint's own. ``given``
    (``MentorConfig`` keys) overrules all. The model is called as the preset that it equals, else ``name``.
    ValueError where neither shapes nor ``given`` tell how many heads there are, and for values that cannot be.
    """
    shapes, given = Shapes({**outline, **(borrowed or {})}), dict(given or {})
    values: Values = {
        "context": shapes.size("null_condition", 0),
        "encoder_dtype": _encoder_dtype(outline),
        "decoder": _decoder(shapes, base, _has(given, "decoder", "num_heads")),
        "projector": _projector(shapes),
        "language": _language(shapes) | {"image_token_id": image_token_id},
        "image_tokenizer": to_dict(image_tokenizer),
    }
    if base.vision is not None:
        values["vision"] = _vision(shapes, _has(given, "vision", "num_heads"))
        values["connector"] = _connector(shapes)
    if image_size is not None:
        if image_size <= 0 or image_size % image_tokenizer.downsample:
            raise ValueError(
                f"a picture of {image_size} px is no whole number of tokens of {image_tokenizer.downsample} px; give the "
                "size with --image-size"
            )
        values["decoder"]["grid"] = image_size // image_tokenizer.downsample
    config = from_dict(MentorConfig, merge(_over(to_dict(base), values), given))
    same = [preset.name for preset in PRESETS.values() if replace(config, name=preset.name) == preset]
    return replace(config, name=given.get("name") or next(iter(same), name))


def _decoder(shapes: Shapes, base: MentorConfig, heads_given: bool) -> Values:
    width = shapes.size(r"decoder\.(tok_embeddings|output|norm|layers\.\d+\.(attention|ffn)_norm)\.weight", -1)
    hidden = shapes.size(r"decoder\.layers\.\d+\.feed_forward\.w[13]\.weight", 0)
    rule = width and mlp_width(replace(base.decoder, width=width, mlp_width=0))
    return {
        "width": width,
        "num_layers": shapes.count(r"decoder\.layers\.(\d+)\."),
        "num_heads": None if heads_given else _heads(width, "decoder"),
        "vocab_size": shapes.size(r"decoder\.(tok_embeddings|output)\.weight", 0),
        "mlp_width": 0 if hidden == rule else hidden,
    }


def _projector(shapes: Shapes) -> Values:
    hidden = shapes.size(r"projector\.fc1\.weight", 0)
    return {
        "hidden": 0 if hidden == shapes.size(r"projector\.fc2\.weight", 0) else hidden,
        "bias": hidden and shapes.count(r"projector\.fc[12]\.(bias)") is not None,
    }


def _language(shapes: Shapes) -> Values:
    model, attention = r"encoder\.language\.model\.", r"encoder\.language\.model\.block\.\d+\.layer\.0\.SelfAttention\."
    heads = shapes.size(rf"{attention}relative_attention_bias\.weight", 1)
    inner = shapes.size(rf"{attention}[qkv]\.weight", 0)
    return {
        "width": shapes.size(rf"{model}(embed_tokens|final_layer_norm|block\.\d+\.layer\.\d\.layer_norm)\.weight", -1),
        "vocab_size": shapes.size(rf"{model}embed_tokens\.weight", 0),
        "num_layers": shapes.count(rf"{model}block\.(\d+)\."),
        "num_heads": heads,
        "head_width": inner // heads if heads and inner else None,
        "mlp_width": shapes.size(rf"{model}block\.\d+\.layer\.1\.DenseReluDense\.wi_[01]\.weight", 0),
    }


def _vision(shapes: Shapes, heads_given: bool) -> Values:
    trunk = r"encoder\.vision\.trunk\."
    width = shapes.size(rf"{trunk}(pre_layrnorm|post_layernorm|encoder\.layers\.\d+\.layer_norm[12])\.weight", 0)
    patch = shapes.size(rf"{trunk}embeddings\.patch_embedding\.weight", -1)
    rows = shapes.size(rf"{trunk}embeddings\.position_embedding\.weight", 0)
    # One row is the class token's, the others are a square of patches.
    patches = rows - 1 if rows and rows > 1 else None
    return {
        "width": width,
        "hidden_size": width,
        "num_layers": shapes.count(rf"{trunk}encoder\.layers\.(\d+)\."),
        "num_heads": None if heads_given else _heads(width, "vision"),
        "mlp_width": shapes.size(rf"{trunk}encoder\.layers\.\d+\.mlp\.fc1\.weight", 0),
        "patch_size": patch,
        "tokens_per_image": patches,
        "image_size": math.isqrt(patches) * patch if patches and patch else None,
    }


def _connector(shapes: Shapes) -> Values:
    hidden = shapes.size(r"encoder\.connector\.fc1\.weight", 0)
    return {"hidden": 0 if hidden == shapes.size(r"encoder\.connector\.fc2\.weight", 0) else hidden}


def _heads(width: int | None, part: str) -> int | None:
    head = HEAD_WIDTHS.get(width or 0, 64)
    if width is not None and width % head:
        raise ValueError(
            f"the shapes do not tell how many heads a {part} of width {width} has; say it in a file for --config: "
            f"{part}: {{num_heads: N}}"
        )
    return width and width // head


def _encoder_dtype(outline: Mapping[str, Tensor]) -> str | None:
    """What the multimodal encoder was saved in; None where the checkpoint has none of its own."""
    dtypes = {tensor.dtype for name, tensor in outline.items() if name.startswith("encoder.")}
    return ("bfloat16" if dtypes == {torch.bfloat16} else "float32") if dtypes else None


def _over(base: Values, found: Values) -> Values:
    """``base`` overlaid with what was found, leaving out what was not."""

    def known(values: Values) -> Values:
        return {key: known(v) if isinstance(v, dict) else v for key, v in values.items() if v is not None}

    return merge(base, known(found))


def _has(given: Mapping[str, Any], part: str, key: str) -> bool:
    return isinstance(given.get(part), Mapping) and key in given[part]
