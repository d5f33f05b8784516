"""The paper's rows hang together: products and ratios of the same row agree with each other within the rounding."""

from __future__ import annotations

import pytest

from mentor.evaluation.published import published_rows


def test_products_of_table_3_agree_with_their_factors() -> None:
    rows = [row for row in published_rows("dreambench_plus") if row.source == "paper, table 3"]
    assert len(rows) == 12
    for row in rows:
        # Both factors are rounded to 0.005.
        assert row.numbers["cp_pf"] == pytest.approx(row.numbers["cp"] * row.numbers["pf"], abs=0.0125), row.label


def test_the_models_own_rows_agree_between_tables() -> None:
    table_3 = next(row for row in published_rows("dreambench_plus") if row.label == "MENTOR")
    assert (table_3.numbers["cp"], table_3.numbers["pf"]) == (0.55, 0.84)
    ablation = {row.label: row for row in published_rows("dreambench")}
    assert ablation["MENTOR"].numbers == {"dino": 0.70853, "clip_i": 0.80911, "clip_t": 0.29071}
    assert ablation["MENTOR"].spread["dino"] == pytest.approx(0.00327)
    multi = next(row for row in published_rows("dreambench_plus") if row.label.endswith("multi-image training"))
    assert multi.numbers["cp"] == 0.586 and multi.spread["cp"] == 0.006


def test_genevals_overall_is_the_mean_of_its_tasks() -> None:
    rows = [row for row in published_rows("geneval") if len(row.numbers) == 7]
    assert len(rows) == 17
    tasks = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
    for row in rows:
        mean = sum(row.numbers[task] for task in tasks) / 6
        assert row.numbers["overall"] == pytest.approx(mean, abs=0.0125), row.label


def test_a_benchmark_that_the_paper_does_not_have_has_no_rows() -> None:
    assert published_rows("scenes") == []
    assert {row.group for row in published_rows("reconstruction")} == {"COCO", "JourneyDB"}
    assert min(row.numbers["fid"] for row in published_rows("coco_fid")) == 7.27
