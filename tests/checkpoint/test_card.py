"""The model card: metadata that the hub's library reads, and what is true of the model."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from mentor.checkpoint.card import model_card, named_card
from mentor.config.presets import PRESETS
from tests.generation.tiny_bundle import CONFIG


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mini-64", ("image-text-to-image", None, ["sentence-transformers/all-MiniLM-L6-v2"])),
        ("xl", ("image-text-to-image", None, ["google/flan-t5-xl"])),
        ("llamagen-xl", ("text-to-image", None, ["google/flan-t5-xl"])),
    ],
)
def test_the_metadata_says_what_is_known(name, expected):
    data = ModelCard(model_card(PRESETS[name])).data
    assert (data.pipeline_tag, data.license, data.base_model) == expected
    assert data.library_name == "mentor"
    assert "multimodal" in data.tags


def test_towers_that_are_nobodys_have_no_base_model():
    assert ModelCard(model_card(CONFIG)).data.base_model is None


def test_the_sizes_are_the_models():
    text = model_card(PRESETS["xl"], "Converted from somewhere.")
    assert "Generates 512 x 512 pictures from interleaved text and reference images." in text
    assert "Converted from somewhere." in text
    assert "| decoder | 36 layers, 1024 image tokens | 773.42 |" in text
    assert "| vision tower | CLIP vision transformer, frozen, layers -2 | 303.18 |" in text
    assert "| image tokenizer | llamagen, 16384 codes | 71.88 |" in text
    assert "at most 512 tokens; each image counts 256." in text
    assert "null condition" not in text, "it is a buffer there, no parameter"
    assert "| null condition | learned |" in model_card(PRESETS["xl-fixed"])


def test_a_model_that_reads_text_only_says_so():
    text = model_card(PRESETS["llamagen-xl"])
    assert "pictures from text." in text
    assert "at most 120 tokens." in text
    assert "connector" not in text


def test_the_example_loads_the_model_that_the_card_is_of():
    card = model_card(CONFIG, 'Made from MentorPipeline.from_pretrained("alice/base").')
    once = named_card(card, "bob/tuned")
    assert 'MentorPipeline.from_pretrained("bob/tuned")("a red apple' in once and "path/to/this/folder" not in once
    assert 'Made from MentorPipeline.from_pretrained("alice/base")' in once  # what its author wrote stays
    assert named_card(once, "carol/again") == named_card(card, "carol/again")


def test_a_tower_of_another_size_is_not_called_by_a_name():
    assert "MiniLM" in model_card(PRESETS["mini-64"]) and "MiniLM" not in model_card(CONFIG)
