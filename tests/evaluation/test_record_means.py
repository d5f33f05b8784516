from __future__ import annotations

import pytest

from mentor.evaluation.protocol import Record
from mentor.evaluation.record_means import record_means


def test_means_leave_failures_out_and_count_them() -> None:
    records = [
        Record("a", {"kind": "x"}, {"score": 1.0, "rare": 5.0}),
        Record("b", {"kind": "x"}, {"score": 0.0}),
        Record("c", {"kind": "y"}, {"score": 1.0}),
        Record("d", {"kind": "y"}, failure="no picture"),
    ]
    summary = record_means(records, ["score", "rare", "never"])
    assert (summary["scored"], summary["failed"]) == (3, 1)
    assert summary["score"] == pytest.approx(2 / 3) and summary["rare"] == 5 and "never" not in summary
    low, high = summary["intervals"]["score"]
    assert 0 <= low < 2 / 3 < high <= 1
    assert summary["groups"] == {
        "kind": {"x": {"items": 2, "score": 0.5, "rare": 5.0}, "y": {"items": 1, "score": 1.0}}
    }


def test_nothing_scored_is_an_error_that_says_why() -> None:
    with pytest.raises(ValueError, match="nothing could be scored: no picture"):
        record_means([Record("a", failure="no picture")], ["score"])
    with pytest.raises(ValueError, match="there are no items"):
        record_means([], ["score"])
