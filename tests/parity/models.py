"""Models as a fixture's json describes them, with the fixture's weights."""

from __future__ import annotations

import math
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor

from mentor.checkpoint.conversion import Extras
from mentor.checkpoint.convert_model import convert_model
from mentor.checkpoint.convert_parts import read_image_tokenizer
from mentor.checkpoint.hub import HubOptions
from mentor.checkpoint.official import rename
from mentor.checkpoint.sources import Assembled
from mentor.checkpoint.store import load_bundle
from mentor.config.model import (
    ConnectorConfig,
    DecoderConfig,
    ImageTokenizerConfig,
    LanguageConfig,
    MentorConfig,
    ProjectorConfig,
    VisionConfig,
)
from mentor.config.presets import PRESETS
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from mentor.models.multimodal_encoder import MultimodalEncoder
from tests.parity.fixtures import Golden

T = TypeVar("T")
PrefixRope = Literal["identity", "zero"]
FIXED = {
    "clip_config": {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5},
    "t5_config": {
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
    },
}
"""What is the same in every CLIP and FLAN-T5, and therefore no part of our configuration."""


def prefix_rope(golden: Golden) -> PrefixRope:
    """The reference's corrected classes leave the prefix unrotated, its other ones erase it."""
    corrected = re.search(r"empty.fix|zero.fix|fixed", f"{golden.name} {golden.meta['source']}")
    return "identity" if corrected else "zero"


@cache
def mentor(golden: Golden) -> Mentor:
    """The whole model of a decoder's or an end-to-end fixture."""
    return converted(golden) if "clip_config" in golden.meta else decoder_with(golden, prefix_rope(golden))


def decoder_with(golden: Golden, policy: PrefixRope) -> Mentor:
    """A decoder's fixture as a model that reads text only; its language encoder is not used."""
    reference = golden.meta["config"]
    width, codes = reference["caption_dim"], reference["vocab_size"]
    unread = LanguageConfig(
        kind="t5", width=width, num_layers=1, num_heads=1, mlp_width=1, vocab_size=2, image_token_id=1
    )
    config = MentorConfig(
        name=golden.name,
        language=unread,
        projector=ProjectorConfig(),
        decoder=decoder_config(golden, policy),
        image_tokenizer=ImageTokenizerConfig(backbone="llamagen", downsample=16, codebook_size=codes),
        context=reference["cls_token_num"],
        null_condition="frozen",
    )
    model = Mentor(config).eval()
    encoder = {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}
    model.load_state_dict(encoder | ours(golden.weights))
    return model


def converted(golden: Golden) -> Mentor:
    """An end-to-end fixture, saved as the released files are, converted to a bundle and loaded."""
    meta = golden.meta
    decoder, vision = decoder_config(golden, prefix_rope(golden)), vision_config(meta)
    language = language_config(meta, meta["t5_config"]["dense_act_fn"])
    # What shapes do not tell; any image tokenizer of as many codes will do.
    told = {
        "decoder": {
            key: getattr(decoder, key) for key in ("num_heads", "grid", "prefix_rope", "rope_base", "norm_eps")
        },
        "vision": {key: getattr(vision, key) for key in ("num_heads", "layers")},
        "language": {key: getattr(language, key) for key in ("activation", "image_token_id")},
    }
    codes = ImageTokenizerConfig(
        backbone="llamagen", downsample=2, codebook_size=decoder.vocab_size, channels=32, channel_multipliers=(1, 1)
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = saved(golden.weights, folder / "model.pt")
        tokenizer = saved(ImageTokenizer(codes).state_dict(), folder / "vq.pt")
        offline = HubOptions(cache_dir=folder, local_files_only=True)
        convert_model(model, tokenizer, folder / "bundle", PRESETS["xl"], Extras(config=told, hub=offline))
        words = Tokenizer(WordLevel({"<image>": language.image_token_id}, unk_token="<image>"))
        words.save(str(folder / "bundle" / "tokenizer.json"))
        return load_bundle(folder / "bundle").mentor


def saved(weights: dict[str, Tensor], path: Path) -> Path:
    torch.save({"model": weights}, path)
    return path


@cache
def encoder(golden: Golden, activation: str) -> MultimodalEncoder:
    """An encoder's fixture, with one of the language encoder's activations."""
    meta = golden.meta
    model = MultimodalEncoder(vision_config(meta), language_config(meta, activation), ConnectorConfig()).eval()
    model.load_state_dict({name.removeprefix("encoder."): value for name, value in ours(golden.weights).items()})
    return model


@cache
def image_tokenizer(golden: Golden) -> ImageTokenizer:
    """An image tokenizer's fixture, saved as the released files are and read as ``mentor convert`` reads them."""
    with tempfile.TemporaryDirectory() as folder:
        source, config = read_image_tokenizer(saved(golden.weights, Path(folder) / "vq.pt"))
        model = ImageTokenizer(config).eval()
        model.load_state_dict(Assembled(dict.fromkeys(source.names, source)))
    return model


def ours(named: dict[str, T]) -> dict[str, T]:
    """What has reference names under our names, by the map that ``mentor convert`` uses."""
    renamed = rename(named)
    assert not renamed.unknown
    return {name: named[theirs] for name, theirs in renamed.ours.items()}


def decoder_config(golden: Golden, policy: PrefixRope) -> DecoderConfig:
    reference = golden.meta["config"]
    usual = {"multiple_of", "ffn_dim_multiplier"}.isdisjoint(reference)
    return DecoderConfig(
        width=reference["dim"],
        num_layers=reference["n_layer"],
        num_heads=reference["n_head"],
        vocab_size=reference["vocab_size"],
        grid=math.isqrt(reference["block_size"]),
        # 0: LlamaGen's rule, which loading then checks.
        mlp_width=0 if usual else golden.weights["layers.0.feed_forward.w1.weight"].shape[0],
        prefix_rope=policy,
        rope_base=reference.get("rope_base", DecoderConfig.rope_base),
        norm_eps=reference.get("norm_eps", DecoderConfig.norm_eps),
    )


def vision_config(meta: dict[str, Any]) -> VisionConfig:
    clip = stated(meta, "clip_config")
    return VisionConfig(
        kind="clip",
        image_size=clip["image_size"],
        layers=(meta.get("mm_vision_select_layer", -2),),
        width=clip["hidden_size"],
        tokens_per_image=meta["patches_per_image"],
        fit="crop",
        hidden_size=clip["hidden_size"],
        num_layers=clip["num_hidden_layers"],
        num_heads=clip["num_attention_heads"],
        mlp_width=clip["intermediate_size"],
        patch_size=clip["patch_size"],
    )


def language_config(meta: dict[str, Any], activation: str) -> LanguageConfig:
    t5 = stated(meta, "t5_config")
    return LanguageConfig(
        kind="t5",
        width=t5["d_model"],
        num_layers=t5["num_layers"],
        num_heads=t5["num_heads"],
        mlp_width=t5["d_ff"],
        vocab_size=t5["vocab_size"],
        image_token_id=meta["image_token_id"],
        activation=activation,
        head_width=t5["d_kv"],
    )


def stated(meta: dict[str, Any], key: str) -> dict[str, Any]:
    values: dict[str, Any] = meta[key]
    assert FIXED[key].items() <= (FIXED[key] | values).items(), f"{key}: our classes have {FIXED[key]} only"
    return values
