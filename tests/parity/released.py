"""What the reference calls things: its configurations and parameter names, translated for the fixtures with an encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mentor.config.model import LanguageConfig, VisionConfig

ENCODER = {
    "multimodal_encoder.vision_model.vision_tower.vision_model.": "vision.trunk.",
    "multimodal_encoder.language_projection.0.": "connector.fc1.",
    "multimodal_encoder.language_projection.2.": "connector.fc2.",
    "multimodal_encoder.language_model.encoder.": "language.model.",
}
TIED = "multimodal_encoder.language_model.shared.weight"


def vision_config(meta: dict[str, Any]) -> VisionConfig:
    clip = meta["clip_config"]
    return VisionConfig(
        kind="clip",
        image_size=clip["image_size"],
        layers=(-2,),
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
    t5 = meta["t5_config"]
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


def encoder_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reference's ``multimodal_encoder.*`` as the state dict of ``MultimodalEncoder``."""
    state = {}
    for name, value in weights.items():
        if name == TIED:
            assert value.equal(weights["multimodal_encoder.language_model.encoder.embed_tokens.weight"])
            continue
        for theirs, ours in ENCODER.items():
            if name.startswith(theirs):
                state[ours + name.removeprefix(theirs)] = value
    return state
