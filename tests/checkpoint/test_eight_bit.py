"""Tables in 8 bits: the nearest level, and nothing more lost when it is done again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentor.checkpoint import eight_bit
from mentor.checkpoint.eight_bit import dequantize_rows, quantize_rows, was_eight_bit


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_eight_bit_rows_round_to_the_nearest_level_and_stay_put(seed, size):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(6, 40, generator=generator) * size
    matrix[0] = 0
    codes, scale = quantize_rows(matrix)
    restored = dequantize_rows(codes, scale)
    step = matrix.abs().amax(1, keepdim=True) / 127
    assert ((restored - matrix).abs() <= 0.6 * step).all()
    assert codes.dtype == torch.int8
    again = quantize_rows(restored)
    assert torch.equal(again[0], codes)
    assert torch.equal(again[1], scale)


def test_only_big_matrices_that_were_in_eight_bits_are_seen_as_such(monkeypatch: pytest.MonkeyPatch):
    table = dequantize_rows(*quantize_rows(torch.randn(20, 10)))
    assert not was_eight_bit(table)
    monkeypatch.setattr(eight_bit, "EIGHT_BIT_FROM", 100)
    assert was_eight_bit(table)
    assert not was_eight_bit(table + 1e-3)
    assert not was_eight_bit(table.flatten())
