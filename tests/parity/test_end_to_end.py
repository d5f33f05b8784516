"""The whole model against the reference: condition, training loss and gradients, greedy tokens, pixels."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from mentor.config.presets import PRESETS
from tests.parity import decoding
from tests.parity.fixtures import GOLDEN_DIR, Checks, Golden, fixture_names, load_golden
from tests.parity.models import image_tokenizer, language_config, mentor, ours, vision_config

checks = Checks(
    "end_to_end",
    given=(r"in\.cond_idx", r"in\.cond_idx_mask", r"in\.pixel_values", r"in\.img_mask", r"in\.targets", r"in\.valid"),
)


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


def test_what_the_json_says(golden):
    assert {name: list(value.shape) for name, value in golden.weights.items()} == golden.meta["state_dict_keys"]
    config, meta, released = mentor(golden).config, golden.meta, PRESETS["xl"]
    vision = replace(vision_config(meta), mean=released.vision.mean, std=released.vision.std)
    language = replace(language_config(meta, meta["t5_config"]["dense_act_fn"]), dropout=released.language.dropout)
    assert (config.vision, config.language) == (vision, language)
    assert config.decoder.grid == meta["config"]["latent_size"]
    assert len(golden.io["in.cond_idx"]) == len(golden.meta["samples"])


def test_how_clear_each_greedy_choice_was(golden):
    for name, settings in golden.meta["greedy"].items():
        margin = decoding.smallest_margin(mentor(golden), *condition(golden), golden.io[f"out.greedy.{name}"], settings)
        stated = settings["min_top2_logit_gap"]
        assert margin == pytest.approx(stated, abs=golden.tolerance()["atol"] * settings["cfg_scale"]), name


def test_what_is_frozen_has_no_gradient(golden):
    found = gradients(golden)
    assert all(found[name] is None for name in ours(dict.fromkeys(golden.meta["params_without_grad"])))
    assert all(found[name] is not None for name in ours(dict.fromkeys(golden.meta["grad_norm_names"])))


@checks.entry(r"in\.idx")
def read_tokens(golden: Golden) -> Tensor:
    return golden.io["in.targets"][:, :-1]


def prompt(golden: Golden) -> tuple[Tensor, Tensor, Tensor]:
    """Ids int64 [B, S], mask bool [B, S] and the images' features [M, P, Dv]."""
    io = golden.io
    features = mentor(golden).encoder.encode_images(io["in.pixel_values"][io["in.img_mask"]])
    return io["in.cond_idx"], io["in.cond_idx_mask"].bool(), features


@cache
@torch.no_grad()
def condition(golden: Golden) -> tuple[Tensor, Tensor]:
    return mentor(golden).condition(*prompt(golden))


@checks.entry(r"out\.embeddings_right_padded")
def states(golden: Golden) -> Tensor:
    return mentor(golden).encoder(*prompt(golden))


@checks.entry(r"out\.cond_left_padded")
def padded_condition(golden: Golden) -> Tensor:
    return condition(golden)[0]


@checks.entry(r"out\.emb_masks_left")
def padded_mask(golden: Golden) -> Tensor:
    return condition(golden)[1]


@checks.entry(r"out\.train_logits")
@cache
def logits(golden: Golden) -> Tensor:
    targets = golden.io["in.targets"]
    return mentor(golden)(*prompt(golden), targets, torch.zeros(len(targets), dtype=torch.bool))


@checks.entry(r"out\.train_loss")
def training_loss(golden: Golden) -> Tensor:
    return decoding.loss(logits(golden), golden.io["in.targets"], golden.io["in.valid"])


@cache
def gradients(golden: Golden) -> dict[str, Tensor | None]:
    return decoding.gradients(mentor(golden), training_loss(golden))


@checks.entry(r"out\.grad\.(.+)")
def gradient(golden: Golden, name: str) -> Tensor:
    (own_name,) = ours({name: None})
    return gradients(golden)[own_name]


@checks.entry(r"out\.grad_norm_each")
def gradient_norms(golden: Golden) -> Tensor:
    return torch.stack([gradient(golden, name).norm() for name in golden.meta["grad_norm_names"]])


@checks.entry(r"out\.greedy\.(.+)")
@cache
def greedy_tokens(golden: Golden, name: str) -> Tensor:
    return decoding.greedy(mentor(golden), *condition(golden), golden.meta["greedy"][name])


def tokens_and_tokenizer(golden: Golden) -> tuple[Tensor, Golden]:
    """The greedy tokens that the pixels were made of, and the fixture whose weights made them."""
    (name,) = {
        found[1] for note in golden.meta["notes"] if (found := re.search(r"pixels from out\.greedy\.(\S+)", note))
    }
    fixture = golden.meta["vq_fixture"].split()[0]
    if fixture not in fixture_names():
        pytest.skip(f"{GOLDEN_DIR} has no {fixture}.json, whose weights decode the tokens")
    return greedy_tokens(golden, name), load_golden(fixture)


@checks.entry(r"out\.pixels_raw")
@torch.no_grad()
def pixels(golden: Golden) -> Tensor:
    tokens, tokenizer = tokens_and_tokenizer(golden)
    model, side = image_tokenizer(tokenizer), golden.meta["config"]["latent_size"]
    return model.pixels(model.quantize.lookup(tokens.view(-1, side, side)))


@checks.entry(r"out\.pixels_01")
def picture(golden: Golden) -> Tensor:
    tokens, tokenizer = tokens_and_tokenizer(golden)
    return (image_tokenizer(tokenizer).decode(tokens) + 1) / 2
