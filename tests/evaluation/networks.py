"""Tiny random networks of the metrics' kinds, saved as `from_pretrained` folders."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    PreTrainedTokenizerFast,
    SwinConfig,
    ViTConfig,
    ViTModel,
)

from mentor.evaluation.detectors import Mask2Former

WORDS = ("a", "photo", "of", "red", "blue", "white", "colored", "object", "dog", "cat", "bench", "on", "the", "beach")
END = 1


def save_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    vocabulary = {"<start>": 0, "<end>": END, "<unknown>": 2, **{word: 3 + n for n, word in enumerate(WORDS)}}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    CLIPModel(
        CLIPConfig(
            text_config={**text, "vocab_size": len(vocabulary), "max_position_embeddings": 12}
            | {"eos_token_id": END, "bos_token_id": 0, "pad_token_id": END},
            vision_config={**text, "image_size": 32, "patch_size": 8},
            projection_dim=16,
        )
    ).save_pretrained(folder)
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unknown>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", END)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<start>", eos_token="<end>", pad_token="<end>", unk_token="<unknown>"
    ).save_pretrained(folder)
    return folder


def save_dino(folder: Path, version: int) -> Path:
    torch.manual_seed(version)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 224}
    if version == 1:
        ViTModel(ViTConfig(**shape, intermediate_size=64, patch_size=32), add_pooling_layer=False).save_pretrained(
            folder
        )
    else:
        Dinov2Model(Dinov2Config(**shape, mlp_ratio=2, patch_size=28)).save_pretrained(folder)
    return folder


def save_mask2former(folder: Path, classes: int = 80) -> Path:
    torch.manual_seed(0)
    backbone = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, patch_size=4
    )
    backbone.out_features = ["stage1", "stage2", "stage3", "stage4"]
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=6,
        num_labels=classes,
    )
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    Mask2FormerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


class FakeInception(nn.Module):
    """The interface of the published TorchScript file: `layers`, and a forward that may return features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        features = self.layers((x.float() - 128) / 128)
        return features if return_features else features.sum(1)


def answer_with_a_dog(detector: Mask2Former, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces what a random network sees by one known query: a dog in the right half."""
    true = type(detector.model).forward

    def told(self: nn.Module, **inputs: Tensor) -> object:
        outputs = true(self, **inputs)
        outputs.class_queries_logits = torch.full_like(outputs.class_queries_logits, -20.0)
        outputs.class_queries_logits[:, :, 80] = 20.0
        outputs.class_queries_logits[0, 0, 16], outputs.class_queries_logits[0, 0, 80] = 20.0, -20.0
        outputs.masks_queries_logits = torch.full_like(outputs.masks_queries_logits, -20.0)
        half = outputs.masks_queries_logits.shape[-1] // 2
        outputs.masks_queries_logits[0, 0, :, half:] = 20.0
        return outputs

    monkeypatch.setattr(type(detector.model), "forward", told)


def save_inception(path: Path) -> FakeInception:
    torch.manual_seed(0)
    network = FakeInception().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), path)
    return network
