"""The decoder against the reference: training logits, losses, gradients, cached logits and greedy images.

Shape letters: B batch, S condition tokens, L image tokens, D width, V codebook.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from mentor.generation.guidance import guided
from mentor.models.decoder import mlp_width
from mentor.models.mentor import Mentor
from mentor.nn.masks import causal_prefix_mask, left_pad
from tests.parity import decoding
from tests.parity.fixtures import Checks, Golden
from tests.parity.models import decoder_with, mentor, ours

checks = Checks("decoder", given=(r"in\.embs_right_padded", r"in\.att_mask_right_padded", r"in\.targets", r"in\.valid"))


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


def test_what_the_json_says_of_the_weights_and_prompts(golden):
    assert {name: list(value.shape) for name, value in golden.weights.items()} == golden.meta["state_dict_keys"]
    assert mlp_width(mentor(golden).decoder.config) == golden.meta["ffn_hidden"]
    assert condition(golden)[1].sum(1).tolist() == golden.meta["prefix_valid_lengths"]


def test_how_clear_each_greedy_choice_was(golden):
    for name, settings in golden.meta["greedy"].items():
        margin = decoding.smallest_margin(mentor(golden), *condition(golden), golden.io[f"out.greedy.{name}"], settings)
        stated = settings["min_top2_logit_gap"]
        assert margin == pytest.approx(stated, abs=golden.tolerance()["atol"] * settings["cfg_scale"]), name


def condition(golden: Golden) -> tuple[Tensor, Tensor]:
    return left_pad(golden.io["in.embs_right_padded"], golden.io["in.att_mask_right_padded"].bool())


@checks.entry(r"in\.cond_left_padded")
def padded_condition(golden: Golden) -> Tensor:
    return condition(golden)[0]


@checks.entry(r"in\.emb_masks_left")
def padded_mask(golden: Golden) -> Tensor:
    return condition(golden)[1]


@checks.entry(r"in\.idx")
def read_tokens(golden: Golden) -> Tensor:
    return golden.io["in.targets"][:, :-1]


@checks.entry(r"in\.train_mask")
def training_mask(golden: Golden) -> Tensor:
    return causal_prefix_mask(condition(golden)[1], read_tokens(golden).shape[1])


@checks.entry(r"out\.causal_mask_after_edit")
def generation_mask(golden: Golden) -> Tensor:
    # The reference's mask is as long as its cache: the sequence, rounded up.
    mask, length = condition(golden)[1], golden.io["out.causal_mask_after_edit"].shape[-1]
    return causal_prefix_mask(mask.repeat(2, 1), length - mask.shape[1])[:, 0]


@cache
def logits(golden: Golden, *, drop: bool = False, masked: bool = True) -> Tensor:
    """Teacher-forced logits [B, L, V]."""
    return logits_of(mentor(golden), golden, drop=drop, masked=masked)


def logits_of(model: Mentor, golden: Golden, *, drop: bool = False, masked: bool = True) -> Tensor:
    states, mask = condition(golden)
    mask = mask if masked else torch.ones_like(mask)
    return model.decoder(model.prefix(states, mask, torch.full((len(mask),), drop)), mask, read_tokens(golden))


@checks.entry(r"out\.train_logits")
def training_logits(golden: Golden) -> Tensor:
    return logits(golden)


@checks.entry(r"out\.train_logits_all_dropped")
def training_logits_of_the_null_condition(golden: Golden) -> Tensor:
    return logits(golden, drop=True)


# Asked for logits outside training, the corrected class too erases the prefix.
@checks.entry(r"out\.eval_naive_logits_tail")
def logits_with_the_prefix_erased(golden: Golden) -> Tensor:
    return logits_of(decoder_with(golden, "zero"), golden)


@checks.entry(r"out\.train_loss")
def training_loss(golden: Golden) -> Tensor:
    return decoding.loss(logits(golden), golden.io["in.targets"])


@checks.entry(r"out\.train_loss_all_dropped")
def training_loss_of_the_null_condition(golden: Golden) -> Tensor:
    return decoding.loss(logits(golden, drop=True), golden.io["in.targets"])


@checks.entry(r"out\.train_loss_valid")
def training_loss_of_some_images(golden: Golden) -> Tensor:
    return decoding.loss(logits(golden), golden.io["in.targets"], golden.io["in.valid"])


@checks.entry(r"out\.train_loss_nomask")
def training_loss_with_padding_as_prompt(golden: Golden) -> Tensor:
    return decoding.loss(logits(golden, masked=False), golden.io["in.targets"])


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


@cache
@torch.no_grad()
def step_by_step(golden: Golden) -> tuple[Tensor, Tensor]:
    """Logits of the prefix [2B, S, V] and of the image [2B, L, V], read through the cache; conditional half first."""
    model, (states, mask) = mentor(golden), condition(golden)
    decoder, drop = model.decoder, torch.arange(2 * len(mask)) >= len(mask)
    mask = mask.repeat(2, 1)
    cache = decoder.empty_cache(len(mask), mask.shape[1])
    seen: list[Tensor] = []
    hook = decoder.layers[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = [decoder.prefill(model.prefix(states.repeat(2, 1, 1), mask, drop), mask, cache)]
    hook.remove()
    for index, tokens in enumerate(read_tokens(golden).T):
        image.append(decoder.decode(tokens.repeat(2), index, mask, cache))
    return decoder.output(decoder.norm(seen[0])), torch.stack(image, dim=1)


@checks.entry(r"out\.prefill_logits_tail")
def prefix_logits(golden: Golden) -> Tensor:
    return step_by_step(golden)[0][:, -golden.io["out.prefill_logits_tail"].shape[1] :]


@checks.entry(r"out\.cache_logits_(cond|uncond)")
def cached_logits(golden: Golden, half: str) -> Tensor:
    return step_by_step(golden)[1].chunk(2)[half == "uncond"]


@checks.entry(r"out\.cfg_logits_(.+)")
def guided_logits(golden: Golden, scale: str) -> Tensor:
    return guided(*step_by_step(golden)[1].chunk(2), float(scale))


# Without a mask the reference reads the padding as a part of the prompt. The json has no settings: the scale is in the name.
@checks.entry(r"out\.greedy\.cfg([\d.]+)_no_emb_masks")
def greedy_with_padding_as_prompt(golden: Golden, scale: str) -> Tensor:
    states, mask = condition(golden)
    settings: dict[str, Any] = {"cfg_scale": float(scale), "cfg_interval": -1}
    return decoding.greedy(mentor(golden), states, torch.ones_like(mask), settings)


@checks.entry(r"out\.greedy\.(.+)")
def greedy_tokens(golden: Golden, name: str) -> Tensor:
    return decoding.greedy(mentor(golden), *condition(golden), golden.meta["greedy"][name])
