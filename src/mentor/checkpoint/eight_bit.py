"""Big weights in 8 bits: one int8 code an entry and one float16 scale a row (an output channel of a convolution)."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE_SUFFIX = ".row_scale"
"""A weight stored in 8 bits has its rows' scales (float16 [rows]) beside it under this suffix."""

EIGHT_BIT_FROM = 100_000
"""Weights with at least this many entries may be stored in 8 bits: smaller ones save little, and codebooks are small."""


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Float weight [rows, ...] -> int8 codes and float16 scales [rows]; code times scale is the nearest level.

    Quantising what ``dequantize_rows`` gave returns the same codes and scales, so repeated saving loses nothing more, but for
    rows whose largest entry is below about 0.008: their scale leaves float16's normal range.
    """
    rows = matrix.float().flatten(1)
    scale = (rows.abs().amax(dim=1) / 127).half()
    codes = (rows / scale.float().clamp(min=1e-12).unsqueeze(1)).round().clamp(-127, 127)
    return codes.to(torch.int8).reshape(matrix.shape), scale


def dequantize_rows(codes: Tensor, scale: Tensor) -> Tensor:
    """Int8 codes [rows, ...] and float16 scales [rows] -> float32 weight."""
    return (codes.float().flatten(1) * scale.float().unsqueeze(1)).reshape(codes.shape)


def may_be_eight_bit(tensor: Tensor) -> bool:
    """Whether this is a big weight of floating-point numbers: a matrix, or the kernels of a convolution."""
    return tensor.ndim >= 2 and tensor.numel() >= EIGHT_BIT_FROM and tensor.is_floating_point()


def was_eight_bit(tensor: Tensor) -> bool:
    """Whether this is a big weight for which 8 bits lose nothing: it was read from them."""
    # Its first row tells nearly always.
    return may_be_eight_bit(tensor) and _loses_nothing(tensor[:1]) and _loses_nothing(tensor)


def _loses_nothing(tensor: Tensor) -> bool:
    return torch.equal(dequantize_rows(*quantize_rows(tensor)), tensor.float())
