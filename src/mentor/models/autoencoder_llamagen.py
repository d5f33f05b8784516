"""LlamaGen's convolutional autoencoder, with the parameter names of the released VQ-16 and VQ-8 checkpoints.

B batch, C channels, h x w map. GroupNorm has 32 groups and eps 1e-6; the activation is x * sigmoid(x).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mentor.config.model import ImageTokenizerConfig


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Norm, SiLU, conv3x3, twice, added to the input (through a 1x1 when the width changes): [B, C, h, w] -> [B, C', h, w]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1 = _norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttentionBlock(nn.Module):
    """Single-head attention over the cells of the map, added to the input: [B, C, h, w] -> same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + self.proj_out(mixed.transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Halves the map: a stride-2 conv3x3 after one row and column of zeros at the bottom and the right."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the map: nearest neighbour, then a conv3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution; attention follows every residual block where ``attend`` is set."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, *, attend: bool) -> None:
        super().__init__()
        self.res = nn.ModuleList(
            ResidualBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(blocks)
        )
        self.attn = nn.ModuleList(AttentionBlock(out_channels) for _ in range(blocks if attend else 0))
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.res):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        for resize in (self.downsample, self.upsample):
            if resize is not None:
                x = resize(x)
        return x


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResidualBlock(channels, channels), AttentionBlock(channels), ResidualBlock(channels, channels)]
    )


def _check(config: ImageTokenizerConfig) -> None:
    expected = 2 ** (len(config.channel_multipliers) - 1)
    if config.downsample != expected:
        raise ValueError(
            f"{len(config.channel_multipliers)} channel multipliers make a downsample of {expected}, "
            f"but image_tokenizer.downsample is {config.downsample}"
        )
    if config.channels % 32:
        raise ValueError(f"image_tokenizer.channels must be a multiple of 32 (GroupNorm), got {config.channels}")


class LlamaGenEncoder(nn.Module):
    """Pixels [B, 3, R, R] -> features [B, latent_channels, R/downsample, R/downsample]."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        _check(config)
        widths = [config.channels * m for m in config.channel_multipliers]
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1)
        self.conv_blocks = nn.ModuleList()
        channels = config.channels
        for i, width in enumerate(widths):
            level = Level(channels, width, config.blocks_per_level, attend=i == last)
            if i != last:
                level.downsample = Downsample(width)
            self.conv_blocks.append(level)
            channels = width
        self.mid = _middle(channels)
        self.norm_out = _norm(channels)
        self.conv_out = nn.Conv2d(channels, config.latent_channels, 3, padding=1)
        self.out_channels = config.latent_channels

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv_in(pixels)
        for block in (*self.conv_blocks, *self.mid):
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class LlamaGenDecoder(nn.Module):
    """Features [B, latent_channels, h, w] -> pixels [B, 3, h * downsample, w * downsample]; lowest resolution first."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        super().__init__()
        _check(config)
        widths = [config.channels * m for m in reversed(config.channel_multipliers)]
        last = len(widths) - 1
        channels = widths[0]
        self.in_channels = config.latent_channels
        self.conv_in = nn.Conv2d(config.latent_channels, channels, 3, padding=1)
        self.mid = _middle(channels)
        self.conv_blocks = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(channels, width, config.blocks_per_level + 1, attend=i == 0)
            if i != last:
                level.upsample = Upsample(width)
            self.conv_blocks.append(level)
            channels = width
        self.norm_out = _norm(channels)
        self.conv_out = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.conv_in(latents)
        for block in (*self.mid, *self.conv_blocks):
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))
