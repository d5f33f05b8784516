"""Logged training numbers are means over the steps between two lines, also where a run was interrupted between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mentor.training.means import Means
from tests.training.runs import Ending
from tests.training.tiny import tiny_config, tiny_trainer
from tests.training.together import losses


def test_means_of_the_steps_that_count() -> None:
    means = Means()
    means.add({"loss": 4.0, "lr": 0.1})
    means.add({"loss": float("nan"), "lr": 0.2}, counts=False)
    again = Means(json.loads(json.dumps(means.state)))
    for each in (means, again):
        each.add({"loss": 1.0, "lr": 0.3})
        assert each.take() == {"loss": 2.5, "lr": 0.3}
        each.add({"loss": 7.0, "lr": 0.4})
        assert each.take() == {"loss": 7.0, "lr": 0.4}
    means.add({"loss": float("inf"), "lr": 0.5}, counts=False)
    assert means.take() == {"loss": float("inf"), "lr": 0.5}


def test_samples_that_were_left_out_are_added_up() -> None:
    means = Means()
    for count in (2.0, 0.0, 1.0):
        means.add({"loss": count, "skipped_samples": count})
    assert means.take() == {"loss": 1.0, "skipped_samples": 3.0}


def test_a_line_is_the_mean_since_the_one_before_and_a_resumed_run_writes_it_too(tmp_path: Path) -> None:
    for name, every in (("each", 1), ("whole", 5), ("parts", 5)):
        trainer = tiny_trainer(tiny_config(logging={"every": every}, checkpointing={"every": 3}))
        if name == "parts":
            trainer.feed = Ending(trainer.feed, 8)  # after the checkpoint of step 6, between lines 5 and 10
            with pytest.raises(ValueError, match="enough"):
                trainer.run(tmp_path / name)
            trainer = tiny_trainer(trainer.config)
        trainer.run(tmp_path / name)
    each, whole = losses(tmp_path / "each"), losses(tmp_path / "whole")
    assert list(whole) == [5, 10, 12]
    for name in ("loss", "absolute", "gradient_norm"):
        assert whole[10][name] == pytest.approx(sum(each[step][name] for step in range(6, 11)) / 5)
        assert whole[12][name] == pytest.approx((each[11][name] + each[12][name]) / 2)
    assert whole[10]["lr"] == each[10]["lr"]
    assert losses(tmp_path / "parts") == whole
