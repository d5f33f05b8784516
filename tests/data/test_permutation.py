"""The endless shuffle: exact at every size, another order for every key, well mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor.data.permutation import permuted


@given(st.integers(1, 300), st.integers(0, 2**70))
def test_every_place_once(size: int, key: int) -> None:
    assert sorted(permuted(place, size, key) for place in range(size)) == list(range(size))


def test_keys_give_other_orders() -> None:
    orders = {tuple(permuted(place, 50, key) for place in range(50)) for key in range(200)}
    assert len(orders) == 200


def test_orders_are_mixed() -> None:
    size = 997
    orders = np.array([[permuted(place, size, key) for place in range(size)] for key in range(40)])
    ranks = np.corrcoef(np.vstack([orders, np.arange(size)]))
    assert np.abs(ranks[~np.eye(41, dtype=bool)]).max() < 0.16  # 5 standard deviations of 1/sqrt(997)
    firsts = np.bincount([permuted(0, 10, key) for key in range(2000)], minlength=10)
    assert np.square(firsts - 200).sum() / 200 < 30  # chi-squared, 9 degrees of freedom
    steps = np.abs(np.diff(orders, axis=1))
    assert steps.mean() == pytest.approx(size / 3, rel=0.05)


def test_large_sizes_need_no_memory() -> None:
    size = 10**15
    assert len({permuted(place, size, 3) for place in range(100)}) == 100
    with pytest.raises(ValueError, match="expected a place from 0 to 4, got 5"):
        permuted(5, 5, 0)
