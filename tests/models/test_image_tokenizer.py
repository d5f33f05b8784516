"""The image tokenizer with its small backbone, and the shape of LlamaGen's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mentor.config.model import ImageTokenizerConfig
from mentor.config.presets import PRESETS
from mentor.models.autoencoder_llamagen import LlamaGenEncoder
from mentor.models.autoencoder_patchify import ResidualBlock
from mentor.models.image_tokenizer import ImageTokenizer

SMALL = ImageTokenizerConfig(backbone="patchify", downsample=8, codebook_size=64, widths=(16, 32))
LLAMAGEN = ImageTokenizerConfig(
    backbone="llamagen",
    downsample=4,
    codebook_size=32,
    channels=32,
    channel_multipliers=(1, 1, 2),
    blocks_per_level=1,
    latent_channels=16,
)


def tokenizer(config: ImageTokenizerConfig = SMALL) -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(config).eval()


@pytest.mark.parametrize("side", [64, 96, 128])
def test_round_trip_shapes_and_ranges(side: int) -> None:
    model = tokenizer()
    pixels = torch.rand(2, 3, side, side) * 2 - 1
    codes = model.encode(pixels)
    assert codes.shape == (2, (side // 8) ** 2) and codes.dtype == torch.int64
    assert int(codes.min()) >= 0 and int(codes.max()) < 64
    decoded = model.decode(codes)
    assert decoded.shape == pixels.shape and decoded.dtype == torch.float32
    assert float(decoded.abs().max()) <= 1.0


def test_codes_are_row_major() -> None:
    model = tokenizer()
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    changed = pixels.clone()
    changed[..., -8:, :8] = 1.0  # the first column of the last row of tokens
    difference = (model.latents(pixels) - model.latents(changed)).abs().sum(dim=1).flatten()
    assert int(difference.argmax()) == 56
    grid = model.quantized(pixels)
    torch.testing.assert_close(
        model.quantize.lookup(grid.codes.view(1, 8, 8)), grid.latents.detach(), atol=1e-6, rtol=0
    )


def test_forward_agrees_with_encode_and_decode() -> None:
    model = tokenizer()
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    output = model(pixels)
    codes = model.encode(pixels)
    assert torch.equal(output.codes, codes)
    torch.testing.assert_close(output.reconstruction.detach().clamp(-1, 1), model.decode(codes), atol=1e-5, rtol=0)
    assert output.unit_latents.shape == (2, 8, 8, 8)


def test_every_weight_but_the_codebook_gets_a_gradient() -> None:
    model = tokenizer().train()
    for block in model.modules():  # the second convolution starts at zero and would hide the first one's gradient
        if isinstance(block, ResidualBlock):
            torch.nn.init.normal_(block.conv2.weight, std=0.05)
    output = model(torch.rand(2, 3, 64, 64) * 2 - 1)
    (output.reconstruction.square().mean() + output.commitment).backward()
    silent = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent == {"quantize.embedding.weight"}


def test_a_fresh_residual_block_is_the_identity() -> None:
    x = torch.randn(1, 16, 5, 5)
    torch.testing.assert_close(ResidualBlock(16)(x), x)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 50), st.integers(1, 50))
def test_sizes_off_the_grid_are_refused(height: int, width: int) -> None:
    model = tokenizer()
    pixels = torch.zeros(1, 3, height, width)
    if height % 8 == 0 and width % 8 == 0:
        assert model.encode(pixels).shape == (1, height * width // 64)
    else:
        with pytest.raises(ValueError, match="divisible by 8"):
            model.encode(pixels)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 64, 64), (0, 3, 64, 64), (1, 3, 0, 64)])
def test_pixels_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B, 3, R, R\]"):
        tokenizer().encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(1, 63, dtype=torch.int64), "square grid"),
        (torch.zeros(64, dtype=torch.int64), "square grid"),
        (torch.zeros(1, 0, dtype=torch.int64), "square grid"),
        (torch.full((1, 64), 64), r"\[0, 64\)"),
        (torch.full((1, 64), -1), r"\[0, 64\)"),
    ],
)
def test_codes_that_make_no_picture_are_refused(codes: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer().decode(codes)


def test_one_picture_does_not_depend_on_the_others_in_the_batch() -> None:
    model = tokenizer()
    pixels = torch.rand(3, 3, 64, 64) * 2 - 1
    together = model.latents(pixels)
    for i in range(3):
        torch.testing.assert_close(model.latents(pixels[i : i + 1]), together[i : i + 1], atol=1e-5, rtol=1e-4)


def test_llamagen_backbone_round_trip() -> None:
    model = tokenizer(LLAMAGEN)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    codes = model.encode(pixels)
    assert codes.shape == (1, 64)
    assert model.decode(codes).shape == pixels.shape


def test_full_size_llamagen_has_the_released_parameter_counts() -> None:
    vq16 = ImageTokenizerConfig(backbone="llamagen", downsample=16, codebook_size=16384)
    vq8 = replace(vq16, downsample=8, channel_multipliers=(1, 2, 2, 4))
    for config, expected in ((vq16, 71_883_403), (vq8, 70_109_835)):
        with torch.device("meta"):
            model = ImageTokenizer(config)
        assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(SMALL, downsample=16), "2 x patch"),
        (replace(LLAMAGEN, downsample=8), "downsample of 4"),
        (replace(LLAMAGEN, channels=48), "multiple of 32"),
        (replace(SMALL, backbone="unet"), "one of"),  # type: ignore[arg-type]
    ],
)
def test_configurations_that_contradict_themselves_are_refused(config: ImageTokenizerConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageTokenizer(config)


def test_backbones_hold_no_buffers() -> None:
    # Everything in the state dict is a learned weight: nothing has to be dropped or invented when weights are converted.
    assert not list(tokenizer().buffers()) and not list(LlamaGenEncoder(LLAMAGEN).buffers())


def test_presets_build() -> None:
    for config in PRESETS.values():
        with torch.device("meta"):
            ImageTokenizer(config.image_tokenizer)
