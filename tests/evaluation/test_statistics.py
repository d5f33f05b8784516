from __future__ import annotations

import numpy as np
import pytest

from mentor.evaluation.statistics import auc, bootstrap, summarise


def test_interval_of_a_mean_matches_theory() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    low, high = bootstrap([values.tolist()], lambda v: v)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.004)
    assert high == pytest.approx(values.mean() + half, abs=0.004)


def test_constant_scores_have_no_width_and_the_same_seed_the_same_interval() -> None:
    assert bootstrap([[0.25] * 9], lambda v: v) == (0.25, 0.25)
    values = [0.1, 0.7, 0.4, 0.9]
    assert bootstrap([values], lambda v: v, seed=3) == bootstrap([values], lambda v: v, seed=3)


def test_product_is_that_of_the_means_not_the_mean_of_products() -> None:
    row = summarise([1.0, 0.0], [0.0, 1.0])
    assert (row["cp"], row["pf"], row["cp_pf"], row["cp_over_pf"]) == (0.5, 0.5, 0.25, 1.0)


def test_rows_are_resampled_together() -> None:
    # cp + pf is 1 in every row, so whatever rows are drawn the sum of the means is 1.
    low, high = bootstrap([[1.0, 0.0, 0.3], [0.0, 1.0, 0.7]], lambda c, p: c + p)
    assert low == pytest.approx(1) and high == pytest.approx(1)


def test_whole_clusters_are_drawn() -> None:
    """Nine equal pictures of each of 40 references tell what one of each tells."""
    values = np.random.default_rng(2).normal(size=40).tolist()
    repeated = [value for value in values for _ in range(9)]
    names = [f"reference {index // 9}" for index in range(360)]
    assert bootstrap([repeated], lambda v: v, clusters=names) == pytest.approx(bootstrap([values], lambda v: v))
    narrow = np.diff(bootstrap([repeated], lambda v: v))
    assert narrow == pytest.approx(np.diff(bootstrap([values], lambda v: v)) / 3, rel=0.1)
    assert bootstrap([values], lambda v: v, clusters=[str(n) for n in range(40)]) == bootstrap([values], lambda v: v)


def test_rows_without_a_score_are_left_out_of_its_mean_only() -> None:
    nan = float("nan")
    low, high = bootstrap([[0.5, nan, 0.5, nan], [1.0, 1.0, 1.0, 1.0]], lambda a, b: a * b)
    assert (low, high) == (0.5, 0.5)


def test_auc() -> None:
    assert auc([2, 3], [0, 1]) == 1
    assert auc([0], [1]) == 0
    assert auc([1, 1], [1]) == 0.5


@pytest.mark.parametrize("columns", [[[]], [[1.0], [1.0, 2.0]]])
def test_empty_or_unequal_columns_are_refused(columns: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="one non-zero length"):
        bootstrap(columns, lambda *c: c[0])
    with pytest.raises(ValueError, match="at least one"):
        auc([], [])
