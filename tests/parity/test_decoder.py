"""The decoder against the reference: training logits, losses, gradients, cached logits and greedy images.

Shape letters: B batch, S condition tokens, L image tokens, V codebook.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentor.config.model import DecoderConfig, ProjectorConfig
from mentor.generation.decode import generate_tokens
from mentor.generation.guidance import guided
from mentor.models.decoder import Decoder
from mentor.models.projector import Projector
from mentor.nn.masks import causal_prefix_mask, left_pad

FIXTURES = {"decoder_fixed": "identity", "decoder_original": "zero", "decoder_original_mentor": "zero"}


class ProjectedDecoder(nn.Module):
    """The part of the model that the fixtures cover: projector, null condition and decoder."""

    def __init__(self, golden, policy):
        super().__init__()
        reference = golden.meta["config"]
        config = DecoderConfig(
            width=reference["dim"],
            num_layers=reference["n_layer"],
            num_heads=reference["n_head"],
            vocab_size=reference["vocab_size"],
            grid=int(reference["block_size"] ** 0.5),
            prefix_rope=policy,
        )
        self.decoder = Decoder(config)
        self.projector = Projector(ProjectorConfig(), reference["caption_dim"], reference["dim"])
        self.null_condition = nn.Parameter(torch.empty(reference["cls_token_num"], reference["caption_dim"]))
        weights = {rename(key): value for key, value in golden.weights.items()}
        self.load_state_dict(weights)

    def prefix(self, states: Tensor, mask: Tensor, drop: Tensor | None = None) -> Tensor:
        if drop is not None:
            states = torch.where(drop[:, None, None], self.null_condition[-states.shape[1] :], states)
        return self.projector(states)


def rename(key: str) -> str:
    if key == "cls_embedding.uncond_embedding":
        return "null_condition"
    return key.replace("cls_embedding.cap_proj", "projector") if key.startswith("cls_") else f"decoder.{key}"


@dataclass
class Case:
    model: ProjectedDecoder
    io: dict[str, Tensor]
    meta: dict
    tolerance: dict[str, float]
    condition: Tensor
    mask: Tensor

    def logits(self, drop: bool = False) -> Tensor:
        """Teacher-forced logits [B, L, V]."""
        dropped = torch.full((len(self.condition),), drop)
        prefix = self.model.prefix(self.condition, self.mask, dropped)
        return self.model.decoder(prefix, self.mask, self.io["in.idx"])

    def loss(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), self.io["in.targets"].flatten())


@pytest.fixture(params=FIXTURES)
def case(request, golden) -> Case:
    loaded = golden(request.param)
    io = loaded.io
    condition, mask = left_pad(io["in.embs_right_padded"], io["in.att_mask_right_padded"].bool())
    model = ProjectedDecoder(loaded, FIXTURES[request.param])
    return Case(model, io, loaded.meta, loaded.tolerance, condition, mask)


def test_left_padding(case):
    assert torch.equal(case.condition, case.io["in.cond_left_padded"])
    assert torch.equal(case.mask, case.io["in.emb_masks_left"].bool())


def test_training_mask(case):
    assert torch.equal(causal_prefix_mask(case.mask, case.io["in.idx"].shape[1]), case.io["in.train_mask"])


def test_training_logits(case):
    torch.testing.assert_close(case.logits(), case.io["out.train_logits"], **case.tolerance)


def test_training_logits_of_the_null_condition(case):
    torch.testing.assert_close(case.logits(drop=True), case.io["out.train_logits_all_dropped"], **case.tolerance)


def test_losses(case):
    torch.testing.assert_close(case.loss(case.logits()), case.io["out.train_loss"], **case.tolerance)
    torch.testing.assert_close(
        case.loss(case.logits(drop=True)), case.io["out.train_loss_all_dropped"], **case.tolerance
    )


def test_gradient_norms(case):
    case.loss(case.logits()).backward()
    gradients = {name: parameter.grad for name, parameter in case.model.named_parameters()}
    ours = torch.stack([gradients[rename(name)].norm() for name in case.meta["grad_norm_names"]])
    torch.testing.assert_close(ours, case.io["out.grad_norm_each"], atol=2e-4, rtol=1e-3)


def test_cached_and_guided_logits(case):
    decoder = case.model.decoder
    condition, mask = case.condition.repeat(2, 1, 1), case.mask.repeat(2, 1)
    drop = torch.arange(len(mask)) >= len(case.mask)
    with torch.no_grad():
        prefix = case.model.prefix(condition, mask, drop)
        cache = decoder.empty_cache(len(mask), mask.shape[1])
        logits = [decoder.prefill(prefix, mask, cache)]
        for index, tokens in enumerate(case.io["in.idx"].T):
            logits.append(decoder.decode(tokens.repeat(2), index, mask, cache))
    conditional, unconditional = torch.stack(logits, dim=1).chunk(2)
    torch.testing.assert_close(conditional, case.io["out.cache_logits_cond"], **case.tolerance)
    torch.testing.assert_close(unconditional, case.io["out.cache_logits_uncond"], **case.tolerance)
    for name in (name for name in case.io if name.startswith("out.cfg_logits_")):
        scale = float(name.rpartition("_")[2])
        torch.testing.assert_close(
            guided(conditional, unconditional, scale), case.io[name], atol=2e-4 * scale, rtol=1e-3
        )


def test_greedy_images(case):
    for name, settings in case.meta["greedy"].items():
        tokens = generate_tokens(
            case.model,
            case.condition,
            case.mask,
            cfg_scale=settings["cfg_scale"],
            cfg_interval=settings["cfg_interval"],
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            generators=[torch.Generator()] * len(case.mask),
        )
        assert torch.equal(tokens, case.io[f"out.greedy.{name}"]), name
