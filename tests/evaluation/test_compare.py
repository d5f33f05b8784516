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
