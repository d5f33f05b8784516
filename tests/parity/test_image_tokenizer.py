"""LlamaGen's tokenizer against numbers of the reference implementation: latents, codes and pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mentor.config.model import ImageTokenizerConfig
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.quantizer import Quantized
from tests.parity.fixtures import Checks, Golden
from tests.parity.models import image_tokenizer

checks = Checks("vq", given=(r"in\.images", r"in\.random_codes"))


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


def test_what_the_json_says(golden):
    assert {name: list(value.shape) for name, value in golden.weights.items()} == golden.meta["state_dict_keys"]
    reference = golden.meta["config"]
    assert image_tokenizer(golden).config == ImageTokenizerConfig(
        backbone="llamagen",
        downsample=reference["downsample"],
        codebook_size=reference["codebook_size"],
        code_width=reference["codebook_embed_dim"],
        channels=reference["ch"],
        channel_multipliers=tuple(reference["encoder_ch_mult"]),
        blocks_per_level=reference["num_res_blocks"],
        latent_channels=reference["z_channels"],
    )
    assert reference["decoder_ch_mult"] == reference["encoder_ch_mult"]
    assert reference["codebook_l2_norm"]
    assert (reference["group_norm_groups"], reference["group_norm_eps"]) == (32, 1e-6)


@torch.no_grad()
def test_how_clear_each_choice_of_a_code_was(golden):
    model = image_tokenizer(golden)
    unit = quantized(golden).unit_latents.movedim(1, -1)
    # Squared distances of unit vectors.
    nearest = (2 - 2 * unit @ model.quantize.codebook.T).topk(2, largest=False).values
    margin = float((nearest[..., 1] - nearest[..., 0]).min())
    assert margin == pytest.approx(golden.meta["min_top2_distance_gap"], abs=golden.tolerance()["atol"])


def test_the_public_decode_gives_the_same_pixels_clipped(golden):
    expected, codes = golden.io["out.decoded_random_codes"], golden.io["in.random_codes"].long()
    if math.isqrt(codes.shape[1]) ** 2 != codes.shape[1]:
        pytest.skip("the public decode takes square pictures")
    torch.testing.assert_close(image_tokenizer(golden).decode(codes), expected.clamp(-1, 1), **golden.tolerance())


@torch.no_grad()
def quantized(golden: Golden) -> Quantized:
    return image_tokenizer(golden).quantized(golden.io["in.images"])


@torch.no_grad()
def pixels(golden: Golden, codes: Tensor, like: str) -> Tensor:
    """Pixels of codes int64 [B x L], of pictures as large as entry ``like`` [B, 3, R, R']."""
    model: ImageTokenizer = image_tokenizer(golden)
    batch, _, height, width = golden.io[like].shape
    step = model.config.downsample
    return model.pixels(model.quantize.lookup(codes.reshape(batch, height // step, width // step)))


@checks.entry(r"out\.pre_quant")
def latents(golden: Golden) -> Tensor:
    return image_tokenizer(golden).latents(golden.io["in.images"])


@checks.entry(r"out\.quant")
def chosen_codes(golden: Golden) -> Tensor:
    return quantized(golden).latents


@checks.entry(r"out\.indices")
def codes(golden: Golden) -> Tensor:
    return image_tokenizer(golden).encode(golden.io["in.images"]).flatten()


@checks.entry(r"out\.forward")
def round_trip(golden: Golden) -> Tensor:
    return image_tokenizer(golden)(golden.io["in.images"]).reconstruction


@checks.entry(r"out\.decoded_from_indices")
def decoded(golden: Golden) -> Tensor:
    return pixels(golden, golden.io["out.indices"], "in.images")


@checks.entry(r"out\.decoded_random_codes")
def decoded_random_codes(golden: Golden) -> Tensor:
    return pixels(golden, golden.io["in.random_codes"].long(), "out.decoded_random_codes")
