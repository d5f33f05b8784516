"""EfficientNet-Lite0's trunk (Tan & Le 2019; the Lite variant: ReLU6, no squeeze-and-excitation).

The batch normalisations are folded into the convolutions when the weights are extracted, so the trunk is a frozen stack of
convolutions that behaves the same in training and in evaluation.

Shapes: M images, R image side in pixels, C channels, h cells on the side of a feature map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM_CHANNELS = 32
STEM_STRIDE = 2
NORM_EPS = 1e-3


class BlockShape(NamedTuple):
    """One inverted bottleneck: channels in and out, kernel side, stride, and how much wider its inside is."""

    channels_in: int
    channels_out: int
    kernel: int
    stride: int
    expansion: int


def _block_shapes() -> tuple[BlockShape, ...]:
    # repeats, kernel, stride of the first, expansion, channels out (Tan & Le 2019, table 1)
    stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)]
    stages += [(3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
    shapes, channels = [], STEM_CHANNELS
    for repeats, kernel, stride, expansion, out in stages:
        for repeat in range(repeats):
            shapes.append(BlockShape(channels, out, kernel, stride if repeat == 0 else 1, expansion))
            channels = out
    return tuple(shapes)


BLOCK_SHAPES = _block_shapes()


def map_shape(blocks: int, image_size: int) -> tuple[int, int]:
    """(C, h) of the feature map after that many blocks; ValueError unless ``0 <= blocks <= 16`` and the strides fit."""
    if not 0 <= blocks <= len(BLOCK_SHAPES):
        raise ValueError(f"EfficientNet-Lite0 has {len(BLOCK_SHAPES)} blocks; layer {blocks} is not one of 0..16")
    stride = STEM_STRIDE
    for shape in BLOCK_SHAPES[:blocks]:
        stride *= shape.stride
    if image_size % stride:
        raise ValueError(f"image_size {image_size} is not a multiple of {stride}, the stride after {blocks} blocks")
    return BLOCK_SHAPES[blocks - 1].channels_out if blocks else STEM_CHANNELS, image_size // stride


class SameConv2d(nn.Conv2d):
    """A convolution with bias whose output has ceil(side / stride) cells (TensorFlow's "same": the odd pixel goes right)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels_out, kernel, stride=stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pad_y, pad_x = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        if pad_y or pad_x:
            x = F.pad(x, (pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2))
        return super().forward(x)


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel apart, narrow; a skip connection where the shape allows."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        inside = shape.channels_in * shape.expansion
        self.expand = SameConv2d(shape.channels_in, inside, 1) if shape.expansion > 1 else None
        self.depthwise = SameConv2d(inside, inside, shape.kernel, stride=shape.stride, groups=inside)
        self.project = SameConv2d(inside, shape.channels_out, 1)
        self.skips = shape.stride == 1 and shape.channels_in == shape.channels_out

    def forward(self, x: Tensor) -> Tensor:
        inside = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.depthwise(inside)))
        return out + x if self.skips else out


class EfficientNetLite0(nn.Module):
    """The first ``num_blocks`` blocks; ``forward`` returns the maps after the asked numbers of blocks."""

    def __init__(self, num_blocks: int) -> None:
        super().__init__()
        self.stem = SameConv2d(3, STEM_CHANNELS, 3, stride=STEM_STRIDE)
        self.blocks = nn.ModuleList(InvertedBottleneck(shape) for shape in BLOCK_SHAPES[:num_blocks])

    def forward(self, pixel_values: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        """Pixels [M, 3, R, R] in [-1, 1] -> for each of ``layers`` its map [M, C, h, h]."""
        # Depthwise convolutions are twice as fast on a CPU with the channels last.
        x = F.relu6(self.stem(pixel_values.contiguous(memory_format=torch.channels_last)))
        maps = {0: x}
        for done, block in enumerate(self.blocks, start=1):
            x = block(x)
            maps[done] = x
        return [maps[layer] for layer in layers]


def merge_cells(feature_map: Tensor, grid: int) -> Tensor:
    """Map [M, C, h, h] -> tokens [M, grid*grid, C*(h/grid)^2] in row-major order: neighbouring cells side by side."""
    merge = feature_map.shape[-1] // grid
    assert merge * grid == feature_map.shape[-1], (feature_map.shape, grid)
    cells = F.pixel_unshuffle(feature_map, merge) if merge > 1 else feature_map
    return cells.flatten(2).transpose(1, 2)


def merged_width(layers: tuple[int, ...], image_size: int, tokens_per_image: int) -> int:
    """Numbers in one visual token; ValueError if the maps cannot be cut into that many square groups of cells."""
    grid = round(tokens_per_image**0.5)
    if grid * grid != tokens_per_image:
        raise ValueError(f"tokens_per_image must be a square number, got {tokens_per_image}")
    width = 0
    for layer in layers:
        channels, side = map_shape(layer, image_size)
        if side % grid:
            raise ValueError(
                f"layer {layer} gives a {side} x {side} map of a {image_size} px image, which {grid} x {grid} tokens do "
                "not divide; choose another image_size or tokens_per_image"
            )
        width += channels * (side // grid) ** 2
    return width


@torch.no_grad()
def fold_batch_norm(weight: Tensor, norm: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A bias-free convolution's weight [C, ...] and the batch normalisation after it -> one convolution's (weight, bias)."""
    scale = norm["weight"] / torch.sqrt(norm["running_var"] + NORM_EPS)
    return weight * scale.view(-1, 1, 1, 1), norm["bias"] - norm["running_mean"] * scale
