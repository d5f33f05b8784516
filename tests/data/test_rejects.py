"""Broken records: written with their reason, and a run with too many of them stops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mentor.data.rejects import SETTLED, Rejects, TooManyRejected, read_rejects


def test_the_file_names_record_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "run" / "rejects.jsonl"
    rejects = Rejects(1.0, file)
    for _ in range(2):  # met again in the next epoch
        rejects.bad("train.jsonl", 7, "photo.png: there is no such file")
    rejects.bad("train.jsonl", 3, "kein Bild für «Füchse»")
    assert read_rejects(file) == [
        {"source": "train.jsonl", "index": 7, "reason": "photo.png: there is no such file"},
        {"source": "train.jsonl", "index": 3, "reason": "kein Bild für «Füchse»"},
    ]
    assert read_rejects(tmp_path / "absent") == []


def test_the_limit(tmp_path: Path) -> None:
    rejects = Rejects(0.02, tmp_path / "r.jsonl")
    for _ in range(1000):
        rejects.good()
    for index in range(38):  # 2 % are 21, and 4 standard deviations more 38.8
        rejects.bad("a", index, "x")
    with pytest.raises(
        TooManyRejected, match=r"^39 of 1039 records are broken, more than data.reject_limit 0.02 allows"
    ):
        rejects.bad("a", 38, "x")


@pytest.mark.parametrize(("share", "stopped"), [(0.005, 0), (0.008, 0), (0.03, 64), (0.2, 64)])
def test_of_many_processes_none_stops_by_chance_and_all_stop_in_the_end(share: float, stopped: int) -> None:
    """A limit of 1 % and 64 workers that draw 4,000 samples each."""
    rng, count = np.random.default_rng(0), 0
    for _ in range(64):
        rejects = Rejects(0.01)
        try:
            for broken in rng.random(4000) < share:
                rejects.bad("a", 0, "x") if broken else rejects.good()
        except TooManyRejected:
            count += 1
    assert count == stopped


def test_an_early_one_stops_nothing_unless_none_is_allowed() -> None:
    early = Rejects(1 / SETTLED)
    for index in range(4):
        early.bad("a", index, "x")
    with pytest.raises(TooManyRejected, match="^5 of 5 records"):
        early.bad("a", 5, "x")
    with pytest.raises(TooManyRejected, match="record 5 of a: broken"):
        Rejects(0.0).bad("a", 5, "broken")


def test_a_worker_s_traceback_is_one_line() -> None:
    text = "Caught it in worker process 0.\nTraceback:\n  x\nmentor.data.rejects.TooManyRejected: 3 of 4"
    assert str(TooManyRejected(text)) == "3 of 4"
