from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mentor.evaluation.results import check_same, item_digest, read_run, write_text
from mentor.prompt import Prompt
from tests.evaluation.toy import toy_items


def test_a_digest_knows_all_that_is_asked_and_compared() -> None:
    item = toy_items(1)[0]
    blue = Image.new("RGB", (16, 16), "blue")
    others = [
        replace(item, key="other"),
        replace(item, prompt=Prompt("The cat in <image>.\na cat", item.prompt.images)),
        replace(item, prompt=Prompt(item.prompt.text, [blue])),
        replace(item, references=(blue,)),
        replace(item, target=blue),
        replace(item, text="other"),
    ]
    digests = {item_digest(each) for each in [item, *others]}
    assert len(digests) == 1 + len(others)
    assert item_digest(replace(item, seed=9)) == item_digest(item)


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"benchmark": "x", "summary": {}}))
    with pytest.raises(ValueError, match="items.jsonl is missing"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("run", "items"),
    [
        ("{", ""),
        ("[]", ""),
        ('{"benchmark": "x"}', ""),
        ('{"benchmark": "x", "summary": 3}', ""),
        ('{"benchmark": "x", "summary": {}}', "{}"),
        ('{"benchmark": "x", "summary": {}}', "3"),
        ('{"benchmark": "x", "summary": {}}', "nonsense"),
    ],
)
def test_a_damaged_run_is_told_in_a_line(tmp_path: Path, run: str, items: str) -> None:
    (tmp_path / "run.json").write_text(run)
    (tmp_path / "items.jsonl").write_text(items)
    with pytest.raises(ValueError, match="is damaged"):
        read_run(tmp_path)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


THERE: dict[str, Any] = {
    "benchmark": "scenes",
    "name": "mini",
    "fingerprint": "abc",
    "settings": {"cfg_scale": 1.5},
    "seed": 0,
    "items": 240,
    "scoring": {"preset": None},
}


@pytest.mark.parametrize(
    ("changes", "unlike"),
    [
        ({}, ""),
        ({"items": 300}, ""),  # completes what is there
        ({"items": 20}, "more items"),
        ({"fingerprint": "other weights"}, "another fingerprint"),
        ({"settings": {"cfg_scale": 2.0}}, "another settings"),
        ({"benchmark": "dreambench"}, "on scenes with another benchmark"),
        ({"fingerprint": "", "settings": {"folder": "/x/mini"}}, "another fingerprint and another settings"),
        ({"name": "ignore the reference (mini)"}, "another name"),
        ({"seed": 1}, "another seed"),
        ({"scoring": {"preset": "official"}}, "another scoring"),
    ],
)
def test_results_of_something_else_are_not_written_over(tmp_path: Path, changes: dict[str, Any], unlike: str) -> None:
    check_same(tmp_path, THERE | changes)  # nothing there
    (tmp_path / "run.json").write_text("half")
    check_same(tmp_path, THERE | changes)
    (tmp_path / "run.json").write_text(json.dumps(THERE))
    with pytest.raises(ValueError, match=f"holds the results of mini .*{unlike}") if unlike else nullcontext():
        check_same(tmp_path, THERE | changes)
