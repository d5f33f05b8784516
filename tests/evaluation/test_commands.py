"""``mentor evaluate`` and ``mentor gallery`` from the outside: a tiny random model, files written, mistakes told in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mentor.data.corpus
from mentor.checkpoint.store import save_bundle
from mentor.cli.main import main
from mentor.data.corpus import Corpus
from mentor.generation.png_metadata import read_metadata
from tests.generation.tiny_bundle import tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = tiny_bundle(context=96)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_bundle(folder, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)


@pytest.fixture
def few_subjects(monkeypatch: pytest.MonkeyPatch, small_corpus: Corpus) -> None:
    """Commands load the small part of the pack."""
    monkeypatch.setattr(mentor.data.corpus.Corpus, "load", lambda folder=None: small_corpus)


@pytest.mark.usefixtures("few_subjects")
def test_evaluate_writes_everything_and_goes_on_where_it_was(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["evaluate", "scenes", "--model", str(model), "--out", str(out), "-n", "4", "--cfg-scale", "1.5"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "copy the reference" in shown and "ignore the reference" in shown and "Checker's accuracy" in shown
    results: dict[str, Any] = json.loads((out / "scenes.json").read_text())
    assert results["name"] == str(model) and results["prompts"] == 4 and results["picture_size"] == 32
    assert results["settings"]["cfg_scale"] == 1.5
    assert len(results["corpus_manifest_sha256"]) == 64
    assert {"mentor", "torch", "numpy"} <= set(results["versions"])
    for row in ("model", "copy_reference", "ignore_reference"):
        assert {"cp", "pf", "cp_pf"} <= set(results[row])
    images = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert len(images) == 4 + 4 + 2 + 2
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()} == images
    assert json.loads((out / "scenes.json").read_text()) == results
    assert main([*words, "--seed", "1"]) == 0
    assert len(list((out / "images").iterdir())) > len(images)


@pytest.mark.usefixtures("few_subjects")
def test_gallery_writes_two_sheets_that_know_their_seeds(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "gallery.png"
    assert main(["gallery", "--model", str(model), "--out", str(path), "-n", "3", "--per-task", "1"]) == 0
    tasks = tmp_path / "gallery-tasks.png"
    assert sorted(tmp_path.iterdir()) == [tasks, path]
    first = path.read_bytes()
    assert main(["gallery", "--model", str(model), "--out", str(path), "-n", "3", "--per-task", "1"]) == 0
    assert path.read_bytes() == first
    assert read_metadata(path)["seed"] == 0
    with Image.open(tasks) as sheet:
        assert sheet.width > 300


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["evaluate", "scenes", "--out", "{out}", "-n", "0"], "-n: expected 1 or more, got 0"),
        (["evaluate", "scenes", "--out", "{out}", "--batch-size", "0"], "--batch-size: expected 1 or more"),
        (["evaluate", "scenes", "--out", "{out}", "--seed", "-1"], "--seed: expected 0 or more"),
        (["evaluate", "scenes", "--out", "{out}", "--cfg-scale", "nan"], "cfg-scale"),
        (["evaluate", "scenes", "--out", "{out}", "--corpus", "{out}/none"], "no corpus pack"),
        (["evaluate", "scenes", "--out", "{out}", "--model", "no-such-model"], "no-such-model"),
        (["evaluate", "scenes", "--out", "{file}/inside"], "cannot be written"),
        (["evaluate", "everything", "--out", "{out}"], "invalid choice"),
        (["gallery", "--out", "{out}.png", "-n", "0"], "-n: expected 1 or more"),
        (["gallery", "--out", "{out}.png", "--per-task", "0"], "--per-task: expected 1 or more"),
        (["gallery", "--out", "{out}/none/x.png"], "there is no such folder"),
        (["gallery", "--out", "{out}.jpg"], "ends in .png"),
    ],
)
@pytest.mark.usefixtures("real_corpus")
def test_mistakes_are_told_in_one_line(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "file").write_text("")
    filled = [word.format(out=tmp_path / "out", file=tmp_path / "file") for word in words]
    try:
        status = main(filled)
    except SystemExit as left:
        status = int(left.code or 0)
    error = capsys.readouterr().err
    assert status == 2
    assert told in error and error.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))
