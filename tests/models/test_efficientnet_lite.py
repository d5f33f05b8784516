"""The trunk against an independent forward pass with its batch normalisations unfolded, and the shapes of its maps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentor.models.efficientnet_lite import (
    BLOCK_SHAPES,
    EfficientNetLite0,
    SameConv2d,
    fold_batch_norm,
    map_shape,
    merge_cells,
    merged_width,
)


def test_the_architecture_has_the_published_number_of_parameters():
    # Counted in the published state dict: its convolutions up to the last block, and one bias for each of their channels.
    model = EfficientNetLite0(16)
    weights = sum(p.numel() for name, p in model.named_parameters() if name.endswith("weight"))
    biases = sum(p.numel() for name, p in model.named_parameters() if name.endswith("bias"))
    inside = sum(shape.channels_in * shape.expansion * (2 if shape.expansion > 1 else 1) for shape in BLOCK_SHAPES)
    assert biases == 32 + inside + sum(shape.channels_out for shape in BLOCK_SHAPES)
    assert weights + biases == 2_939_120


@pytest.mark.parametrize("side", [8, 9, 15, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_same_padding_puts_the_odd_pixel_right_and_below(side, kernel, stride):
    torch.manual_seed(0)
    convolution, x = SameConv2d(2, 3, kernel, stride=stride), torch.randn(1, 2, side, side)
    out = -(-side // stride)
    margin = torch.zeros(1, 2, side + 8, side + 8)
    margin[:, :, 4 : 4 + side, 4 : 4 + side] = x
    before = max((out - 1) * stride + kernel - side, 0) // 2
    rows = []
    for top in range(out):
        for left in range(out):
            y0, x0 = 4 - before + top * stride, 4 - before + left * stride
            window = margin[0, :, y0 : y0 + kernel, x0 : x0 + kernel]
            rows.append((convolution.weight * window).sum((1, 2, 3)) + convolution.bias)
    expected = torch.stack(rows, -1).view(1, 3, out, out)
    torch.testing.assert_close(convolution(x), expected, atol=1e-5, rtol=1e-5)


def test_folding_gives_what_convolution_and_normalisation_give():
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6, eps=1e-3).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.2, 3)
    x = torch.randn(2, 4, 7, 7)
    weight, bias = fold_batch_norm(convolution.weight, norm.state_dict())
    torch.testing.assert_close(F.conv2d(x, weight, bias), norm(convolution(x)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("blocks", [0, 1, 3, 5, 8, 11, 16])
def test_map_shapes(blocks):
    maps = EfficientNetLite0(blocks)(torch.zeros(1, 3, 64, 64), (blocks,))
    channels, side = map_shape(blocks, 64)
    assert maps[0].shape == (1, channels, side, side)


def test_skips_only_where_a_stage_repeats():
    skipping = [i for i, block in enumerate(EfficientNetLite0(16).blocks, 1) if block.skips]
    assert skipping == [3, 5, 7, 8, 10, 11, 13, 14, 15]


def test_merged_cells_are_neighbours_in_row_major_order():
    feature_map = torch.arange(2 * 16.0).view(1, 2, 4, 4)
    tokens = merge_cells(feature_map, 2)
    assert tokens.shape == (1, 4, 8)

    def cells(row: int, column: int) -> Tensor:
        return feature_map[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten().sort().values

    for number in range(4):
        assert torch.equal(tokens[0, number].sort().values, cells(number // 2, number % 2))
    assert torch.equal(merge_cells(feature_map, 4)[0, 5], feature_map[0, :, 1, 1])


@pytest.mark.parametrize(
    ("layers", "size", "tokens", "message"),
    [
        ((17,), 64, 16, "16 blocks"),
        ((5,), 100, 16, "multiple of 8"),
        ((5,), 64, 15, "square"),
        ((5,), 64, 36, "8 x 8 map"),
    ],
)
def test_impossible_readings_are_refused(layers, size, tokens, message):
    with pytest.raises(ValueError, match=message):
        merged_width(layers, size, tokens)
