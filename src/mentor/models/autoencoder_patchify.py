"""The fast autoencoder of the small image tokenizer: no norms, no layer at full resolution.

Norms and full-resolution layers, not multiplications, are what makes the usual VQGAN slow on a processor without a GPU:
here the pixels are first folded into channels (PixelUnshuffle), and all convolutions run at 1/patch of the resolution or less.

B batch, R picture side, c1 and c2 the two widths.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mentor.config.model import ImageTokenizerConfig


class ResidualBlock(nn.Module):
    """x + conv3x3(relu(conv3x3(relu(x)))), [B, C, h, w] -> same; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


def _blocks(width: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(width) for _ in range(count)]


def _check(config: ImageTokenizerConfig) -> None:
    if config.downsample != 2 * config.patch:
        raise ValueError(
            f"the patchify backbone halves the map once after its patches: downsample must be 2 x patch = "
            f"{2 * config.patch}, got {config.downsample}; change image_tokenizer.patch or image_tokenizer.downsample"
        )


class PatchifyEncoder(nn.Sequential):
    """Pixels [B, 3, R, R] -> features [B, c2, R/downsample, R/downsample]."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        _check(config)
        fine, coarse = config.widths
        super().__init__(
            nn.PixelUnshuffle(config.patch),
            nn.Conv2d(3 * config.patch**2, fine, 3, padding=1),
            *_blocks(fine, config.encoder_blocks[0]),
            nn.Conv2d(fine, coarse, 2, stride=2),
            *_blocks(coarse, config.encoder_blocks[1]),
        )
        self.out_channels = coarse


class PatchifyDecoder(nn.Sequential):
    """Features [B, c2, h, w] -> pixels [B, 3, h * downsample, w * downsample]."""

    def __init__(self, config: ImageTokenizerConfig) -> None:
        _check(config)
        fine, coarse = config.widths
        super().__init__(
            *_blocks(coarse, config.decoder_blocks[1]),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            *_blocks(fine, config.decoder_blocks[0]),
            nn.Conv2d(fine, 3 * config.patch**2, 3, padding=1),
            nn.PixelShuffle(config.patch),
        )
        self.in_channels = coarse
