"""Ablation studies: every row from one start, on one budget, with shared beginnings and shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from mentor.config.study import REFERENCE, STUDIES, distinct, load_study, row_runs, shards_of, start_run
from tests.test_package import loaded_by

START = Path("start/final")


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_has_the_same_budget_and_start(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    rows = row_runs(study, START, tmp_path)
    assert list(rows) == list(study.rows)
    budget = sum(study.steps.values())
    for row, runs in rows.items():
        assert sum(run.config.schedule.steps for run in runs) == budget, row
        assert runs[0].config.init.bundle == str(START)
        assert [run.config.init.bundle for run in runs[1:]] == [str(run.final) for run in runs[:-1]]
        assert len({run.config.data.batch_size for run in runs}) == 1
    first = start_run(study, tmp_path)
    models = {str(run.config.model.resolve().decoder) for run in [first, *distinct(rows)]}
    assert len(models) == 1, "one decoder, or the rows would not be comparable"


def test_the_rows_are_those_of_the_paper_and_differ_in_what_they_say() -> None:
    study = load_study("mini-64")
    rows = row_runs(study, START, Path("out"))
    assert set(study.paper) == set(rows)
    left_out = {row: [run.config.data.left_out for run in runs] for row, runs in rows.items()}
    assert left_out == {
        "full": [(), ()],
        "no-segmentation-stage1": [("segment",), ()],
        "no-stage1": [()],
        "no-recovery": [(), ("recover",)],
        "no-segmentation": [(), ("segment",)],
        "no-subject": [(), ("subject", "multi")],
        "query-former": [(), ()],
    }
    kinds = {row: runs[-1].config.model.resolve().connector.kind for row, runs in rows.items()}
    assert [row for row, kind in kinds.items() if kind == "query_former"] == ["query-former"]


def test_beginnings_are_trained_once_and_shards_hold_what_every_row_needs() -> None:
    study = load_study("mini-64")
    rows = row_runs(study, START, Path("out"), ["optim.lr=1e-4"])
    runs = distinct(rows)
    assert len(runs) == 10 < sum(map(len, rows.values()))
    assert {run.config.optim.lr for run in runs} == {1e-4}
    for number, run in enumerate(runs):
        start = Path(str(run.config.init.bundle))
        assert start == START or start in [earlier.final for earlier in runs[:number]]
    shards = shards_of(runs)
    assert set(shards) == {str(run.config.data.shards) for run in runs}
    for run in runs:
        made = shards[str(run.config.data.shards)].data
        assert made.left_out == ()
        assert made.samples >= min(run.config.data.samples, run.config.schedule.steps * run.config.data.batch_size)


def test_rows_can_be_chosen() -> None:
    study = load_study("mini-64")
    assert list(study.chosen(["no-recovery"]).rows) == [REFERENCE, "no-recovery"]
    with pytest.raises(ValueError, match="unknown row 'no-recover'; known: full, "):
        study.chosen(["no-recover"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows: {other: {a: debug}}", "rows: expected one called 'full', got other"),
        ("rows: {full: {b: debug}}", r"rows.full: expected stages among a, got \['b'\]"),
        ("rows: {full: {}}", "rows.full: expected stages among a, got none"),
        ("rows: {full: {a: debug}}\nseeds: []", "expected 1 prompt and 1 seed or more"),
        ("rows: {full: {a: debug}}\nprompt: 3", "unknown key 'prompt'; did you mean 'prompts'"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("start: {recipe: debug}\nsteps: {a: 3}\n" + text)
    with pytest.raises(ValueError, match=message):
        load_study(str(path))


def test_no_steps(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("start: {recipe: debug}\nsteps: {a: 0}\nrows: {full: {a: debug}}")
    with pytest.raises(ValueError, match="steps: expected 1 or more for every stage"):
        load_study(str(path))


def test_studies_need_no_torch() -> None:
    assert loaded_by("import mentor.config.study") & {"torch", "transformers", "numpy"} == set()
