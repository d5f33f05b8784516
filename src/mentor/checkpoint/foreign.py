"""Says what files of other models are, so that a mistaken path gets an answer instead of a list of tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

_CONVERT = (
    "which has to be converted first: mentor convert official --model stage2.pt --tokenizer vq_ds16_t2i.pt --out DIR"
)
_PICKLES = (".pt", ".pth", ".bin", ".ckpt")

_SIGNS = {
    "model.diffusion_model.": "a Stable Diffusion checkpoint",
    "down_blocks.0.resnets.0.": "the U-Net of a diffusion model",
    "multimodal_encoder.language_projection.": f"an official MENTOR checkpoint, {_CONVERT}",
    "cls_embedding.cap_proj.": f"a LlamaGen checkpoint, {_CONVERT}",
    "quantize.codebook_used": f"an official image tokenizer, {_CONVERT}",
    "mm_projector.": "a LLaVA projector",
    "encoder.block.0.layer.0.SelfAttention.": "a T5 language model",
    "encoder.layer.0.attention.self.": "a BERT language model",
    "pre_layrnorm.": "a CLIP model",
    "model.layers.0.self_attn.": "a causal language model",
}
"""How tensors of a foreign model are called (prefixes before it are allowed), and what it is then."""
_OURS = ("encoder.language.model.", "decoder.tok_embeddings.")


def recognise(names: Iterable[str]) -> str | None:
    """What a checkpoint with these tensors is; None for one of ours and for what is not known here."""
    names = list(names)
    if any(name.startswith(_OURS) for name in names):
        return None
    for sign, what in _SIGNS.items():
        if any(name.startswith(sign) or f".{sign}" in name for name in names):
            return what
    return None


def describe(path: Path) -> str | None:
    """What a file or a folder is that holds no model of ours; None for one that may, and where nothing is recognised."""
    return _describe_file(path) if path.is_file() else describe_folder(path)


def describe_folder(path: Path) -> str | None:
    """As ``describe``, by the configuration files of other libraries and by pickles without any."""
    pipeline, config = _json(path / "model_index.json"), _json(path / "config.json")
    if "_class_name" in pipeline:
        return f"a diffusers pipeline ({pipeline['_class_name']})"
    if "_class_name" in config:
        return f"a diffusers model ({config['_class_name']})"
    if "model_type" in config or "architectures" in config:
        return f"a transformers model of type {config.get('model_type') or config['architectures']}"
    pickles = sorted(each.name for each in path.glob("*") if each.suffix in _PICKLES)
    if pickles and not (path / "config.json").exists():
        return f"a folder with {', '.join(pickles[:3])}, {_CONVERT}"
    return None


def _describe_file(path: Path) -> str:
    if path.suffix in _PICKLES:
        return f"a PyTorch checkpoint, {_CONVERT}"
    try:
        with safe_open(path, framework="pt") as file:
            return recognise(file.keys()) or "a single safetensors file"
    except (SafetensorError, OSError):
        return "a single file"


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
