"""The whole model against the reference: condition, training loss and gradients, greedy tokens, pixels."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mentor.config.model import ConnectorConfig, DecoderConfig, ImageTokenizerConfig, MentorConfig, ProjectorConfig
from mentor.generation.decode import generate_tokens
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from tests.parity.released import ENCODER, encoder_weights, language_config, vision_config


@dataclass
class Case:
    mentor: Mentor
    io: dict[str, Tensor]
    meta: dict
    features: Tensor

    def condition(self) -> tuple[Tensor, Tensor]:
        return self.mentor.condition(self.io["in.cond_idx"], self.io["in.cond_idx_mask"].bool(), self.features)


@pytest.fixture(scope="module")
def case(golden) -> Case:
    loaded = golden("end_to_end")
    meta, reference = loaded.meta, loaded.meta["config"]
    config = MentorConfig(
        name="reference",
        vision=vision_config(meta),
        language=language_config(meta, meta["t5_config"]["dense_act_fn"]),
        connector=ConnectorConfig(),
        projector=ProjectorConfig(),
        decoder=DecoderConfig(
            width=reference["dim"],
            num_layers=reference["n_layer"],
            num_heads=reference["n_head"],
            vocab_size=reference["vocab_size"],
            grid=reference["latent_size"],
            mlp_width=loaded.weights["layers.0.feed_forward.w1.weight"].shape[0],
        ),
        image_tokenizer=ImageTokenizerConfig(backbone="llamagen", downsample=8, codebook_size=64),
        context=reference["cls_token_num"],
    )
    mentor = Mentor(config).eval()
    mentor.load_state_dict(
        {f"encoder.{k}": v for k, v in encoder_weights(loaded.weights).items()} | rest(loaded.weights)
    )
    io = loaded.io
    return Case(mentor, io, meta, mentor.encoder.encode_images(io["in.pixel_values"][io["in.img_mask"]]))


def rest(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {ours(name): value for name, value in weights.items() if not name.startswith("multimodal_encoder.")}


def ours(name: str) -> str:
    if name == "cls_embedding.uncond_embedding":
        return "null_condition"
    for theirs, prefix in ENCODER.items():
        if name.startswith(theirs):
            return f"encoder.{prefix}{name.removeprefix(theirs)}"
    # The word embeddings are one tensor that the reference lists under two names.
    name = name.replace("multimodal_encoder.language_model.shared.", "encoder.language.model.embed_tokens.")
    if name.startswith("encoder."):
        return name
    return name.replace("cls_embedding.cap_proj", "projector") if name.startswith("cls_") else f"decoder.{name}"


def test_condition(case):
    ids, mask = case.io["in.cond_idx"], case.io["in.cond_idx_mask"].bool()
    with torch.no_grad():
        right = case.mentor.encoder(ids, mask, case.features)
        left, left_mask = case.condition()
    expected, tolerance = case.io["out.embeddings_right_padded"], case.meta["tol"]
    torch.testing.assert_close(right * mask[..., None], expected * mask[..., None], **tolerance)
    torch.testing.assert_close(left, case.io["out.cond_left_padded"], **tolerance)
    assert torch.equal(left_mask, case.io["out.emb_masks_left"].bool())


def test_logits_loss_and_gradients(case):
    io, mentor = case.io, case.mentor
    mentor.zero_grad()
    drop = torch.zeros(len(io["in.targets"]), dtype=torch.bool)
    logits = mentor(io["in.cond_idx"], io["in.cond_idx_mask"].bool(), case.features, io["in.targets"], drop)
    torch.testing.assert_close(logits, io["out.train_logits"], **case.meta["tol"])
    each = F.cross_entropy(logits.transpose(1, 2), io["in.targets"], reduction="none")
    valid = io["in.valid"].view(-1, 1).expand_as(each)
    loss = (each * valid).sum() / valid.sum().clamp(min=1)
    torch.testing.assert_close(loss, io["out.train_loss"], **case.meta["tol"])

    loss.backward()
    gradients = {name: parameter.grad for name, parameter in mentor.named_parameters()}
    norms = torch.stack([gradients[ours(name)].norm() for name in case.meta["grad_norm_names"]])
    torch.testing.assert_close(norms, io["out.grad_norm_each"], atol=2e-4, rtol=1e-3)
    name = "multimodal_encoder.language_projection.0.weight"
    torch.testing.assert_close(gradients[ours(name)], io[f"out.grad.{name}"], atol=2e-4, rtol=1e-3)
    assert all(gradients[ours(name)] is None for name in case.meta["params_without_grad"])


def test_greedy_images(case, golden):
    with torch.no_grad():
        states, mask = case.condition()
    made = {}
    for name, settings in case.meta["greedy"].items():
        made[name] = generate_tokens(
            case.mentor,
            states,
            mask,
            cfg_scale=settings["cfg_scale"],
            cfg_interval=settings["cfg_interval"],
            temperature=0.0,
            top_k=0,
            top_p=1.0,
            generators=[torch.Generator()] * len(mask),
        )
        assert torch.equal(made[name], case.io[f"out.greedy.{name}"]), name

    tokenizer = golden("vq16_like")
    values = tokenizer.meta["config"]
    vqgan = ImageTokenizer(
        ImageTokenizerConfig(
            backbone="llamagen",
            downsample=values["downsample"],
            codebook_size=values["codebook_size"],
            code_width=values["codebook_embed_dim"],
            channels=values["ch"],
            channel_multipliers=tuple(values["encoder_ch_mult"]),
            blocks_per_level=values["num_res_blocks"],
            latent_channels=values["z_channels"],
        )
    ).eval()
    vqgan.load_state_dict(
        {name: value for name, value in tokenizer.weights.items() if not name.endswith("codebook_used")}
    )
    pixels = vqgan.decode(made["cfg3_all"])
    torch.testing.assert_close(pixels, case.io["out.pixels_raw"].clamp(-1, 1), **case.meta["tol"])
