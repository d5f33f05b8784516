"""``mentor evaluate`` and ``mentor gallery`` from the outside: a tiny random model, files written, mistakes told in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mentor.data.corpus
from mentor.checkpoint.store import load_image_tokenizer, save_bundle
from mentor.cli.main import main
from mentor.data.corpus import Corpus
from mentor.evaluation.benchmarks import BENCHMARKS
from mentor.evaluation.tokenizer import evaluate_tokenizer
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
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # the table names the model by its path
    out = tmp_path / "out"
    words = ["evaluate", "scenes", "--model", str(model), "--out", str(out), "-n", "4", "--cfg-scale", "1.5"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "copy the reference" in shown and "ignore the reference" in shown and "Checker's accuracy" in shown
    assert f"{out / 'report.md'}, {out / 'scenes.json'}" in shown and f"{out / 'scenes.png'}\n" in shown
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
    assert main([*words, "--seed", "1"]) == 2 and "another seed" in capsys.readouterr().err
    (out / "run.json").unlink()
    assert main([*words, "--seed", "1"]) == 0
    assert len(list((out / "images").iterdir())) > len(images)


@pytest.mark.usefixtures("few_subjects")
def test_scenes_judge_ready_pictures_and_baselines_too(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "scenes", "--sample"]
    assert main([*words, "--baseline", "copy_reference", "--out", str(tmp_path / "copy")]) == 0
    copied = json.loads((tmp_path / "copy" / "run.json").read_text())
    assert copied["items"] == 8 and copied["name"] == "copy the reference" and copied["summary"]["cp"] > 0.5
    assert not (tmp_path / "copy" / "scenes.json").exists()
    ready = tmp_path / "ready"
    ready.mkdir()
    for line in (tmp_path / "copy" / "items.jsonl").read_text().splitlines()[:6]:
        item = json.loads(line)
        (ready / f"{item['key']}.png").write_bytes((tmp_path / "copy" / item["picture"]).read_bytes())
    assert main([*words, "--pictures", str(ready), "--out", str(tmp_path / "read")]) == 0
    assert "Means over 6 of 8 pictures." in capsys.readouterr().out
    assert json.loads((tmp_path / "read" / "run.json").read_text())["failures"] == 2
    assert main([*words, "--pictures", str(ready), "--size", "64", "--out", str(tmp_path / "small")]) == 0
    capsys.readouterr()
    assert main(["evaluate", "compare", str(tmp_path / "copy"), str(tmp_path / "small")]) == 2
    assert main(["evaluate", "compare", str(tmp_path / "copy"), str(tmp_path / "read")]) == 0
    shown = capsys.readouterr().out
    assert "+0.000" in shown and "B: 2 items have no score" in shown
    scores = ["evaluate", "scenes", "--sample", "--model", str(model), "--out", str(tmp_path / "model")]
    assert main([*scores, "--size", "64"]) == 2 and "at its own 32 px" in capsys.readouterr().err
    assert main([*scores, "--size", "31"]) == 2 and "expected 32 pixels or more" in capsys.readouterr().err
    assert main(scores) == 0
    assert json.loads((tmp_path / "model" / "scenes.json").read_text())["prompts"] == 8
    run = json.loads((tmp_path / "model" / "run.json").read_text())
    assert [row["label"] for row in run["published"]][:2] == ["copy the reference", "ignore the reference"]
    assert len((tmp_path / "model" / "items.jsonl").read_text().splitlines()) == 8


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "scenes"])
@pytest.mark.integration
def test_every_sample_runs_offline_and_says_that_nothing_real_measured_it(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    out = tmp_path / "out"
    words = ["evaluate", name, "--model", str(model), "--sample", "-n", "4", "--batch-size", "3", "--out", str(out)]
    assert main(words) == 0
    assert "compare with nothing published" in capsys.readouterr().out
    run = json.loads((out / "run.json").read_text())
    assert run["items"] == 4 and run["data"]["sample"] and run["fingerprint"] and run["settings"]["cfg_scale"] == 1.5
    assert (out / "report.html").stat().st_size > 5000 and (out / "report.md").is_file()
    images = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()} == images
    again = json.loads((out / "run.json").read_text())
    assert {name: again["summary"][name] for name in again["columns"] if name in again["summary"]} == {
        name: run["summary"][name] for name in run["columns"] if name in run["summary"]
    }


@pytest.mark.parametrize(
    ("name", "role"),
    [("dreambench", "dinov2"), ("geneval", "detector"), ("coco_fid", "inception"), ("coco_fid", "clip")],
)
def test_a_backbone_that_is_not_there_is_told_before_painting(
    name: str, role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(tmp_path / "nowhere")
    words = ["evaluate", name, "--sample", "-n", "2", "--backbone", f"{role}={nowhere}", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert nowhere in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "out" / "images").iterdir())


def test_a_baseline_that_fits_no_prompt_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "geneval", "--sample", "--baseline", "copy_reference", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "copy_reference: the prompt has no reference picture" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "run.json").exists()


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
        (["evaluate", "scenes", "--out", "{out}", "--seed", "-1"], "--seed: expected a whole number from 0 to"),
        (["evaluate", "scenes", "--out", "{out}", "--cfg-scale", "nan"], "cfg_scale: expected"),
        (["evaluate", "scenes", "--out", "{out}", "--corpus", "{out}/none"], "no corpus pack"),
        (["evaluate", "scenes", "--out", "{out}", "--model", "no-such-model"], "no-such-model"),
        (["evaluate", "scenes", "--out", "{file}/inside"], "cannot be written"),
        (["evaluate", "everything", "--out", "{out}"], "invalid choice"),
        (["evaluate", "scenes", "--out", "{out}", "--data", "{out}"], "unrecognized arguments: --data"),
        (["evaluate", "dreambench", "--out", "{out}"], "--sample for the few built-in items"),
        (["evaluate", "dreambench", "--out", "{out}", "--data", "{out}/none"], "is no folder"),
        (["evaluate", "dreambench", "--out", "{out}", "--data", "{out}"], "{out}"),
        (["evaluate", "dreambench", "--out", "{out}", "--sample", "--preset", "x"], "--preset: expected one of"),
        (["evaluate", "dreambench", "--out", "{out}", "--sample", "--backbone", "clip"], "expected ROLE=NAME"),
        (["evaluate", "dreambench", "--out", "{out}", "--sample", "--pictures", "{out}"], "none of the"),
        (["evaluate", "dreambench", "--out", "{out}", "--sample", "--rival", "x"], "unknown rival 'x'"),
        (["evaluate", "dreambench", "--out", "{out}", "--sample", "--rival-set", "a=1"], "no --rival to change"),
        (["evaluate", "dreambench", "--out", "{out}", "--sample", "--data", "x"], "not allowed with"),
        (["evaluate", "dreambench_plus", "--out", "{out}", "--sample", "--judge-passes", "0"], "--judge-passes"),
        (["evaluate", "compare", "{out}", "{out}"], "no finished run"),
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
    assert told.format(out=tmp_path / "out") in error and error.count("\n") == 1
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.usefixtures("few_subjects")
def test_an_image_tokenizer_is_scored_alone(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    small_corpus: Corpus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = ["evaluate", "tokenizer", "--model", str(model), "--sizes", "64", "32", "-n", "4"]
    assert main([*words, "--out", str(tmp_path / "scores.json")]) == 0
    shown = capsys.readouterr().out
    assert "ST-LPIPS" in shown and "codes used" in shown
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["pictures"] == 4 and list(written["sizes"]) == ["64", "32"]
    expected = evaluate_tokenizer(load_image_tokenizer(model), small_corpus, sizes=(32,), count=4)["32"]
    assert written["sizes"]["32"] == pytest.approx(expected)
    for wrong, message in (
        (["--sizes", "60"], "divisible by"),
        (["--sizes", "64", "0"], "--sizes: expected 32 pixels or more, got 0"),
        (["-n", "0"], "at least 1 held-out picture"),
        (["--out", str(tmp_path / "none" / "scores.json")], "--out: there is no folder"),
        (["--model", "nobody"], "unknown model 'nobody'"),
    ):
        assert main([*words, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_scenes_have_no_presets_and_others_no_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--preset", "original"], ["--backbone", "clip=here"]):
        assert main(["evaluate", "scenes", "--out", str(tmp_path / "out"), *wrong]) == 2
        assert f"unrecognized arguments: {wrong[0]}" in capsys.readouterr().err
    assert main(["evaluate", "reconstruction", "--out", str(tmp_path / "out"), "--corpus", "here"]) == 2
    assert "unrecognized arguments: --corpus" in capsys.readouterr().err
