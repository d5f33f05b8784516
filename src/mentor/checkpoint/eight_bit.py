"""Big frozen tables in 8 bits: one int8 code an entry and one float16 scale a row."""

from __future__ import annotations

import torch
from torch import Tensor

SCALE_SUFFIX = ".row_scale"
"""A matrix stored in 8 bits has its rows' scales (float16 [rows]) beside it under this suffix."""

EIGHT_BIT_FROM = 4_000_000
"""Matrices with at least this many entries are stored in 8 bits where that loses nothing."""


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Float matrix [rows, columns] -> int8 codes and float16 scales [rows]; code times scale is the nearest level.

    Quantising what ``dequantize_rows`` gave returns the same codes and scales, so repeated saving loses nothing more, but for
    rows whose largest entry is below about 0.008: their scale leaves float16's normal range.
    """
    scale = (matrix.float().abs().amax(dim=1) / 127).half()
    codes = (matrix.float() / scale.float().clamp(min=1e-12).unsqueeze(1)).round().clamp(-127, 127)
    return codes.to(torch.int8), scale


def dequantize_rows(codes: Tensor, scale: Tensor) -> Tensor:
    """Int8 codes [rows, columns] and float16 scales [rows] -> float32 matrix."""
    return codes.float() * scale.float().unsqueeze(1)


def was_eight_bit(tensor: Tensor) -> bool:
    """Whether this is a big matrix for which 8 bits lose nothing: it was read from them."""
    if tensor.ndim != 2 or tensor.numel() < EIGHT_BIT_FROM or not tensor.is_floating_point():
        return False
    return torch.equal(dequantize_rows(*quantize_rows(tensor)), tensor.float())
