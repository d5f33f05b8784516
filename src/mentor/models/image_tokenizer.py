"""The image tokenizer (paper 2.1, VQGAN): a picture becomes a grid of codes, and codes become a picture.

pixels -> encoder -> quant_conv -> quantize -> post_quant_conv -> decoder -> pixels. The module names are those of the
released LlamaGen checkpoints, for both backbones.

B batch, R picture side in pixels, h = w = R / downsample, L = h * w image tokens, W code width, V codebook size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mentor.config.model import ImageTokenizerConfig
from mentor.models.autoencoder_llamagen import LlamaGenDecoder, LlamaGenEncoder
from mentor.models.autoencoder_patchify import PatchifyDecoder, PatchifyEncoder
from mentor.models.quantizer import Quantized, VectorQuantizer

_BACKBONES: dict[str, tuple[type, type]] = {
    "patchify": (PatchifyEncoder, PatchifyDecoder),
    "llamagen": (LlamaGenEncoder, LlamaGenDecoder),
}


@dataclass(frozen=True)
class TokenizerOutput:
    """A round trip through the tokenizer."""

    reconstruction: Tensor
    """[B, 3, R, R], about [-1, 1], not clipped."""
    codes: Tensor
    """int64 [B, L], row-major."""
    commitment: Tensor
    """Scalar: mean squared distance between unit latents and their codes."""
    unit_latents: Tensor
    """float32 [B, W, h, w], what the codebook's running average is fed with."""


class ImageTokenizer(nn.Module):
    """Pixels [B, 3, R, R] in [-1, 1] <-> codes int64 [B, L] in row-major order; any R divisible by ``downsample``."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        if config.backbone not in _BACKBONES:
            raise ValueError(f"image_tokenizer.backbone must be one of {sorted(_BACKBONES)}, got {config.backbone!r}")
        encoder, decoder = _BACKBONES[config.backbone]
        self.config = config
        self.encoder = encoder(config)
        self.decoder = decoder(config)
        self.quant_conv = nn.Conv2d(self.encoder.out_channels, config.code_width, 1)
        self.post_quant_conv = nn.Conv2d(config.code_width, self.decoder.in_channels, 1)
        self.quantize = VectorQuantizer(config.codebook_size, config.code_width)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def latents(self, pixels: Tensor) -> Tensor:
        """Latents [B, W, h, w] of pixels [B, 3, R, R], before quantisation; ValueError if the size does not fit the grid."""
        step = self.config.downsample
        if pixels.ndim != 4 or pixels.shape[1] != 3 or 0 in pixels.shape:
            raise ValueError(f"expected pixels [B, 3, R, R], got {tuple(pixels.shape)}")
        if pixels.shape[2] % step or pixels.shape[3] % step:
            raise ValueError(
                f"expected a height and width divisible by {step} (one token covers {step} x {step} pixels), "
                f"got {pixels.shape[2]} x {pixels.shape[3]}; resize or pad the picture"
            )
        return self.quant_conv(self.encoder(pixels.contiguous(memory_format=torch.channels_last)))

    def pixels(self, latents: Tensor) -> Tensor:
        """Pixels [B, 3, R, R], not clipped, of quantised latents [B, W, h, w]."""
        return self.decoder(self.post_quant_conv(latents))

    def quantized(self, pixels: Tensor) -> Quantized:
        """The quantiser's whole answer for pixels [B, 3, R, R]."""
        return self.quantize(self.latents(pixels))

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels [B, 3, R, R] in [-1, 1] -> codes int64 [B, L]; ValueError if R is not divisible by the downsample."""
        return self.quantized(pixels).codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 [B, L] -> pixels [B, 3, R, R] in [-1, 1]; ValueError if L is no square or a code not in [0, V)."""
        if codes.ndim != 2 or codes.numel() == 0 or math.isqrt(codes.shape[1]) ** 2 != codes.shape[1]:
            raise ValueError(f"expected codes [B, L] of a square grid (L = 64, 256, ...), got {tuple(codes.shape)}")
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self.config.codebook_size:
            raise ValueError(f"codes must lie in [0, {self.config.codebook_size}), got {low} to {high}")
        side = math.isqrt(codes.shape[1])
        dtype = self.post_quant_conv.weight.dtype
        latents = self.quantize.lookup(codes.long().view(-1, side, side)).to(dtype)
        return self.pixels(latents).float().clamp(-1.0, 1.0)

    def forward(self, pixels: Tensor) -> TokenizerOutput:
        """The differentiable round trip of pixels [B, 3, R, R] in [-1, 1]."""
        quantized = self.quantized(pixels)
        dtype = self.post_quant_conv.weight.dtype
        reconstruction = self.pixels(quantized.latents.to(dtype))
        return TokenizerOutput(reconstruction, quantized.codes, quantized.commitment, quantized.unit_latents)
