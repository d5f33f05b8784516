from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from mentor.nn.masks import attention_bias, causal_prefix_mask, left_pad


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=4))
def test_left_pad_moves_valid_rows_to_the_end_in_order(rows):
    mask = torch.tensor(rows)
    states = torch.arange(1.0, mask.numel() + 1).view(len(rows), 4, 1)
    padded, padded_mask = left_pad(states, mask)
    for before, keep, after, after_mask in zip(states, mask, padded, padded_mask, strict=True):
        count = int(keep.sum())
        assert after_mask.tolist() == [False] * (4 - count) + [True] * count
        assert after[4 - count :].tolist() == before[keep].tolist()
        assert not after[: 4 - count].any()


def test_mask_is_the_drawing_of_its_docstring():
    drawing = """
        1 . . . . . .
        . 1 . . . . .
        . 1 1 . . . .
        . 1 1 1 . . .
        . 1 1 1 1 . .
        . 1 1 1 1 1 .
        . 1 1 1 1 1 1
    """
    expected = torch.tensor([[mark == "1" for mark in line.split()] for line in drawing.split("\n") if line.strip()])
    assert torch.equal(causal_prefix_mask(torch.tensor([[False, True, True, True]]), 3)[0, 0], expected)


def test_bias_hides_what_the_mask_hides():
    bias = attention_bias(torch.tensor([True, False]), torch.bfloat16)
    assert bias.tolist() == [0.0, -torch.inf]
    assert bias.dtype == torch.bfloat16
