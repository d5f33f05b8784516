from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mentor.data.corpus import Corpus
from mentor.data.held_out import evaluation_prompts
from mentor.data.tasks import Sample
from mentor.evaluation.gallery import TASKS, scene_gallery, task_gallery
from mentor.evaluation.pictures import PictureStore, check_folder
from mentor.evaluation.results import write_json
from mentor.evaluation.scene_benchmark import SceneBenchmark
from mentor.evaluation.scene_tables import scene_lines, scene_table, write_scene_report
from mentor.evaluation.scenes import ROWS, draw_scenes, judge_scenes
from mentor.models.perceptual import STLPIPS
from tests.evaluation.conftest import FakePainter

N = 20


@pytest.fixture(scope="module")
def samples(small_corpus: Corpus) -> list[Sample]:
    return evaluation_prompts(small_corpus.split("test"), N, 0, size=64)


def evaluate(
    painter: FakePainter, corpus: Corpus, samples: list[Sample], folder: Path, trunk: STLPIPS
) -> tuple[dict[str, Any], dict[str, list[Image.Image]]]:
    drawn = draw_scenes(painter, corpus.split("test"), samples, PictureStore(folder))
    return judge_scenes(drawn, corpus, samples, trunk, recode=lambda pictures: list(pictures))


@pytest.fixture(scope="module")
def judged(
    small_corpus: Corpus, samples: list[Sample], trunk: STLPIPS, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, list[Image.Image]], FakePainter, Path]:
    """A model that draws the true scene whatever it is asked, but a blank when it is not shown a reference."""
    folder = tmp_path_factory.mktemp("scenes")
    check_folder(folder)
    painter = FakePainter(lambda prompt, seed: samples[seed].target if prompt.images else Image.new("RGB", (64, 64)))
    results, answers = evaluate(painter, small_corpus, samples, folder, trunk)
    return results, answers, painter, folder


def test_keys_and_sanity_of_every_row(judged: tuple[Any, ...]) -> None:
    results = judged[0]
    assert results["checker_accuracy"] >= 0.95
    assert results["checker"]["recoded_accuracy"] == results["checker_accuracy"]
    for row in ROWS:
        values = results[row]
        assert values["cp_pf"] == pytest.approx(values["cp"] * values["pf"])
        for name in ("cp", "pf", "cp_pf"):
            low, high = values["intervals"][name]
            assert 0 <= low <= values[name] <= high <= 1


def test_the_perfect_model_equals_the_true_pictures_and_beats_both_baselines(judged: tuple[Any, ...]) -> None:
    results = judged[0]
    assert results["model"] == results["ground_truth"] == results["tokenizer"]
    assert results["model"]["cp_pf"] > 0.75
    assert results["copy_reference"]["cp"] > 0.6 and results["copy_reference"]["pf"] < 0.4
    assert results["ignore_reference"]["cp"] == 0
    assert results["model"]["cp_pf"] > results["copy_reference"]["cp_pf"] > results["ignore_reference"]["cp_pf"]


def test_groups_add_up(judged: tuple[Any, ...]) -> None:
    model = judged[0]["model"]
    for groups in (model["kinds"], model["categories"]):
        assert sum(group["prompts"] for group in groups.values()) == N
        assert sum(group["prompts"] * group["cp"] for group in groups.values()) / N == pytest.approx(model["cp"])
    assert set(model["kinds"]) == {"single", "copies", "pair", "two references"}


def test_tasks_are_measured_against_their_own_truth(judged: tuple[Any, ...]) -> None:
    segmentation, reconstruction = judged[0]["segmentation"], judged[0]["reconstruction"]
    # The fake model leaves the picture as it is instead of segmenting, and reconstructs perfectly.
    assert segmentation["iou"] == pytest.approx(segmentation["untouched_iou"], abs=0.05)
    assert segmentation["ground_truth_iou"] == segmentation["tokenizer_iou"] > 0.75
    assert reconstruction["mse"] == 0 and reconstruction["psnr"] > 55
    assert reconstruction["tokenizer"] == {name: reconstruction[name] for name in ("mse", "psnr", "st_lpips")}


def test_a_second_run_makes_nothing_and_finds_the_same(
    judged: tuple[Any, ...], samples: list[Sample], small_corpus: Corpus, trunk: STLPIPS
) -> None:
    results, _, painter, folder = judged
    before = painter.calls
    again, _ = evaluate(painter, small_corpus, samples, folder, trunk)
    assert painter.calls == before
    assert again == results


def test_report_shows_the_numbers_and_the_first_pictures(
    judged: tuple[Any, ...], samples: list[Sample], tmp_path: Path
) -> None:
    results, answers = {**judged[0], "name": "fake", "settings": {}, "versions": {}}, judged[1]
    write_json(tmp_path / "scenes.json", results)
    assert json.loads((tmp_path / "scenes.json").read_text())["model"]["cp"] == results["model"]["cp"]
    text = write_scene_report(tmp_path, results, samples, answers).read_text()
    assert f"{results['model']['cp_pf']:.3f}" in text and "ignore the reference" in text
    assert (tmp_path / "scenes.png").is_file()
    assert len(scene_table(results)) == 1 + 5 and all(len(row) == 10 for row in scene_table(results))
    assert any("Segmentation IoU" in line for line in scene_lines(results))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scenes.json", "scenes.md", "scenes.png"]


def test_galleries_show_the_first_prompts(small_corpus: Corpus, tmp_path: Path) -> None:
    check_folder(tmp_path)
    seen: list[tuple[str, int]] = []

    def answer(prompt: Any, seed: int) -> Image.Image:
        seen.append((prompt.text, seed))
        return Image.new("RGB", (64, 64), (1, 2, 3))

    painter = FakePainter(answer)
    sheet = scene_gallery(painter, small_corpus, PictureStore(tmp_path), n=5)
    expected = evaluation_prompts(small_corpus.split("test"), 5, 0, size=64)
    assert seen == [(sample.prompt.text, seed) for seed, sample in enumerate(expected)]
    assert sum(colour == (1, 2, 3) for colour in sheet.get_flattened_data()) == 5 * 112 * 112
    seen.clear()
    task_gallery(painter, small_corpus, PictureStore(tmp_path), n=2)
    assert [seed for _, seed in seen] == [0, 1] * len(TASKS)


def test_one_subject_is_refused_before_anything_is_painted(small_corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="-n: expected prompts with at least two different subjects, got 1"):
        SceneBenchmark(small_corpus, n=1)


@pytest.mark.parametrize("n", [0, -3])
def test_refuses_no_prompts(n: int, small_corpus: Corpus, tmp_path: Path) -> None:
    painter = FakePainter(lambda prompt, seed: Image.new("RGB", (64, 64)))
    with pytest.raises(ValueError, match="at least 1"):
        SceneBenchmark(small_corpus, n=n)
    with pytest.raises(ValueError, match="at least 1"):
        scene_gallery(painter, small_corpus, PictureStore(tmp_path), n=n)
    with pytest.raises(ValueError, match="at least 1"):
        task_gallery(painter, small_corpus, PictureStore(tmp_path), n=n)
    assert painter.calls == 0
