"""LlamaGen's tokenizer against numbers of the reference implementation (random weights, narrow channels)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mentor.config.model import ImageTokenizerConfig
from mentor.models.image_tokenizer import ImageTokenizer
from tests.parity.conftest import Golden


@pytest.fixture(params=["vq16_like", "vq8_like"])
def case(request: pytest.FixtureRequest, golden: Callable[[str], Golden]) -> tuple[Golden, ImageTokenizer]:
    fixture = golden(request.param)
    values = fixture.meta["config"]
    model = ImageTokenizer(
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
    assert {name: list(value.shape) for name, value in fixture.weights.items()} == fixture.meta["state_dict_keys"]
    # The released files also hold a statistic of the reference's training, which is no weight.
    model.load_state_dict({k: v for k, v in fixture.weights.items() if k != "quantize.codebook_used"})
    return fixture, model


def test_latents_and_codes(case: tuple[Golden, ImageTokenizer]) -> None:
    fixture, model = case
    io, tolerance = fixture.io, fixture.tolerance
    with torch.no_grad():
        torch.testing.assert_close(model.latents(io["in.images"]), io["out.pre_quant"], **tolerance)
        quantized = model.quantized(io["in.images"])
    torch.testing.assert_close(quantized.latents, io["out.quant"], **tolerance)
    assert torch.equal(model.encode(io["in.images"]).flatten(), io["out.indices"])


def test_pixels(case: tuple[Golden, ImageTokenizer]) -> None:
    fixture, model = case
    io, tolerance = fixture.io, fixture.tolerance
    images, codes = io["in.images"], io["in.random_codes"]
    side = model.latents(images).shape[-1]
    with torch.no_grad():
        torch.testing.assert_close(model(images).reconstruction, io["out.forward"], **tolerance)
        for indices, expected in (
            (io["out.indices"].view(len(images), side, side), io["out.decoded_from_indices"]),
            (codes.long().view(-1, side, side), io["out.decoded_random_codes"]),
        ):
            torch.testing.assert_close(model.pixels(model.quantize.lookup(indices)), expected, **tolerance)
    # The public decode returns pictures: the same numbers, clipped.
    expected = io["out.decoded_random_codes"].clamp(-1, 1)
    torch.testing.assert_close(model.decode(codes.long()), expected, **tolerance)
