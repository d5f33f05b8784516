from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mentor.evaluation.compare import compare, table
from mentor.evaluation.results import SavedRun


def saved(name: str, cp: list[float | None], **changed: Any) -> SavedRun:
    run = {
        "benchmark": "toy",
        "preset": None,
        "backbones": {"light": "numpy"},
        "name": name,
        "columns": {"cp": "CP", "pf": "PF", "cp_pf": "CP x PF", "fid": "FID"},
        "summary": {"fid": 3.0, "cp": 0.1},
        "failures": sum(value is None for value in cp),
    }
    items = [
        {"key": str(number), "item": "digest", "numbers": {} if value is None else {"cp": value, "pf": 0.5}}
        for number, value in enumerate(cp)
    ]
    return SavedRun(Path(name), run | changed, items)


def test_a_constant_gain_has_an_interval_without_width() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(40).tolist()
    found = compare(saved("a", base), saved("b", [value + 0.25 for value in base]))
    cp, pf, product = found.differences
    # The pairs keep the items' own spread out of the interval: only the bootstrap of unpaired runs would see it.
    assert cp.interval == pytest.approx((0.25, 0.25)) and cp.b - cp.a == pytest.approx(0.25)
    assert (pf.a, pf.b, pf.interval) == (0.5, 0.5, (0, 0))
    assert product.name == "cp_pf" and product.interval == pytest.approx((0.125, 0.125)) and product.items == 40
    rows = table(found, saved("a", base), saved("b", base))
    assert rows[1][4].endswith("*") and not rows[2][4].endswith("*")


def test_pictures_of_one_folder_are_no_cluster() -> None:
    """Reconstruction: a gain in half of the pictures is uncertain, also where all of them lie in one folder."""
    runs = [saved("a", [0.0] * 10), saved("b", [0.0, 1.0] * 5)]
    for run in runs:
        for line in run.items:
            line["key"] = f"coco/{line['key']}"
    low, high = compare(*runs).differences[0].interval
    assert low == high == 0.5
    for run in runs:
        for line in run.items:
            line["groups"] = {"folder": "coco"}
    low, high = compare(*runs).differences[0].interval
    assert 0 < low < 0.5 < high < 1


def test_the_interval_agrees_with_the_normal_one() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=400), rng.normal(0.1, size=400)
    (cp, *_) = compare(saved("a", one.tolist()), saved("b", two.tolist())).differences
    error = 1.96 * (two - one).std(ddof=1) / 20
    mean = (two - one).mean()
    assert cp.interval == pytest.approx((mean - error, mean + error), abs=0.015)


def test_common_items_only_and_how_many() -> None:
    found = compare(saved("a", [0.1, 0.2, None, 0.4]), saved("b", [0.2, 0.3, 0.4]))
    assert found.common == 3 and found.differences[0].items == 2
    assert found.notes[0] == "Compared on the 3 common items (A has 4, B has 3)."
    assert found.notes[1] == "A: 1 items have no score and are left out here."
    assert "FID: A 3.000, B 3.000" in found.notes[2]
    assert "CP" not in "".join(found.notes[2:]).replace("CP x PF", "")


def test_columns_of_some_items_and_their_mean_are_compared_too() -> None:
    """GenEval: each picture counts in its own task, ``overall`` is the unweighted mean of the tasks."""
    columns = {"single_object": "Single", "colors": "Colors", "overall": "Overall"}
    runs = []
    for name, right in (("a", (0, 0)), ("b", (1, 0))):
        lines = [
            {
                "key": f"{n}/samples/0",
                "item": "d",
                "numbers": {"single_object" if n % 2 else "colors": float(right[n % 2])},
            }
            for n in range(30)
        ]
        run = saved(name, [0.0], columns=columns, summary={"overall": 0.0}).run
        runs.append(SavedRun(Path(name), run, lines))
    single, colors, overall = compare(*runs).differences
    assert (single.name, single.b - single.a, single.items) == ("single_object", 0, 15)
    assert (colors.b - colors.a, overall.b - overall.a) == (1, 0.5)
    assert overall.interval == (0.5, 0.5) and overall.items == 30


def test_pictures_of_one_reference_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    gains = rng.normal(0.1, 0.2, 30)
    widths = []
    for join in ("/", "-"):
        one, two = saved("a", [0.5] * 270), saved("b", [0.5 + gain for gain in gains for _ in range(9)])
        for run in (one, two):
            for number, line in enumerate(run.items):
                line["key"] = f"{number // 9}{join}{number % 9}"
        widths.append(np.ptp(compare(one, two).differences[0].interval))
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.15)


def test_an_item_of_the_same_key_and_other_content_is_another_item() -> None:
    other = saved("b", [0.1, 0.2])
    other.items[0]["item"] = "changed"
    assert compare(saved("a", [0.1, 0.2]), other).common == 1
    other.items[1]["item"] = "changed"
    with pytest.raises(ValueError, match="no item in common .of 2 and 2."):
        compare(saved("a", [0.1, 0.2]), other)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"benchmark": "other"}, "benchmark differ .toy; other."),
        ({"preset": "p"}, "preset differ"),
        ({"backbones": {"light": "stand-in"}}, "backbones differ .light numpy; light stand-in."),
    ],
)
def test_what_cannot_be_compared_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        compare(saved("a", [0.1]), saved("b", [0.1], **changed))
