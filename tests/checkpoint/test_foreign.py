"""Files of other models are called by their names; our own and unknown ones are not."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from mentor.checkpoint.foreign import describe, recognise
from mentor.config.presets import PRESETS
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from tests.generation.tiny_bundle import CONFIG
from tests.models.official_keys import official_keys

SIZES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
T5 = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (T5EncoderModel(T5), "a T5 language model"),
        (T5ForConditionalGeneration(T5), "a T5 language model"),
        (BertModel(BertConfig(vocab_size=9, **SIZES)), "a BERT language model"),
        (CLIPVisionModel(CLIPVisionConfig(**SIZES)), "a CLIP model"),
        (LlamaForCausalLM(LlamaConfig(vocab_size=9, **SIZES)), "a causal language model"),
    ],
)
def test_models_of_transformers_are_known_by_their_tensors(model, what):
    assert recognise(model.state_dict()) == what


def test_diffusion_models_are_known_by_their_tensors():
    assert recognise(["model.diffusion_model.input_blocks.0.0.weight", "other"]) == "a Stable Diffusion checkpoint"
    assert recognise(["down_blocks.0.resnets.0.conv1.weight"]) == "the U-Net of a diffusion model"


def test_our_own_are_not_called_foreign():
    with torch.device("meta"):
        for config in (CONFIG, *PRESETS.values()):
            assert recognise(Mentor(config).state_dict()) is None
            assert recognise(ImageTokenizer(config.image_tokenizer).state_dict()) is None
    assert recognise([]) is None
    assert recognise(["something"]) is None


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("mentor_gpt_xl", "an official MENTOR checkpoint"),
        ("llamagen_t2i_xl", "a LlamaGen checkpoint"),
        ("vq16", "an official image tokenizer"),
        ("vq8", "an official image tokenizer"),
    ],
)
def test_official_tensors_are_told_how_to_convert(file, what):
    assert recognise(official_keys(file)).startswith(
        f"{what}, which has to be converted first: mentor convert official --model"
    )


def test_folders_are_known_by_their_configuration(tmp_path):
    for file, values, what in [
        ("config.json", {"model_type": "t5", "d_model": 8}, "a transformers model of type t5"),
        ("config.json", {"architectures": ["GPT2LMHeadModel"]}, r"a transformers model of type ['GPT2LMHeadModel']"),
        ("config.json", {"_class_name": "UNet2DConditionModel"}, "a diffusers model (UNet2DConditionModel)"),
        (
            "model_index.json",
            {"_class_name": "StableDiffusionPipeline"},
            "a diffusers pipeline (StableDiffusionPipeline)",
        ),
    ]:
        path = tmp_path / file
        path.write_text(json.dumps(values))
        assert describe(tmp_path) == what
        path.write_text("{")
        assert describe(tmp_path) is None
        path.unlink()
    T5EncoderModel(T5).save_pretrained(tmp_path)
    assert describe(tmp_path) == "a transformers model of type t5"


def test_pickles_without_a_configuration_are_told_how_to_convert(tmp_path):
    assert describe(tmp_path) is None
    for name in ("stage2.pt", "vq_ds16_t2i.pt"):
        (tmp_path / name).touch()
    assert describe(tmp_path).startswith("a folder with stage2.pt, vq_ds16_t2i.pt, which has to be converted first")
    assert describe(tmp_path / "stage2.pt").startswith("a PyTorch checkpoint, which has to be converted first")
    (tmp_path / "config.json").write_text("{}")
    assert describe(tmp_path) is None


def test_single_files_are_known_by_their_tensors(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"model.diffusion_model.a": torch.zeros(1)}, path)
    assert describe(path) == "a Stable Diffusion checkpoint"
    save_file({"a": torch.zeros(1)}, path)
    assert describe(path) == "a single safetensors file"
    path.write_bytes(b"not one")
    assert describe(path) == "a single file"
