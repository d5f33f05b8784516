from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.evaluation import geneval
from mentor.evaluation.detectors import Detection
from mentor.evaluation.geneval import BENCHMARK, GenEval, summary_of
from mentor.evaluation.geneval_rules import TASKS
from mentor.evaluation.protocol import Record, Source, Tools
from tests.evaluation.networks import save_clip, save_mask2former

SAMPLE = Source(Path(str(files("mentor"))) / "assets/samples/geneval", sample=True)
LINES = [
    {"tag": "single_object", "include": [{"class": "dog", "count": 1}], "prompt": "a photo of a dog"},
    {"tag": "colors", "include": [{"class": "dog", "count": 1, "color": "red"}], "prompt": "a photo of a red dog"},
]


def write(folder: Path, lines: list[dict[str, object]]) -> Source:
    (folder / "evaluation_metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Source(folder)


def test_items_are_four_pictures_of_each_prompt_in_the_official_layout(tmp_path: Path) -> None:
    items = BENCHMARK.items(write(tmp_path, LINES))
    assert [item.key for item in items[:5]] == [*(f"00000/samples/{n:04d}" for n in range(4)), "00001/samples/0000"]
    assert [item.seed for item in items] == [0, 1, 2, 3] * 2
    assert items[4].prompt.text == items[4].text == "a photo of a red dog" and items[4].groups == {"task": "colors"}


class Told:
    """Finds a dog in every picture that is not black."""

    name, fingerprint, labels = "told", "told", ("dog",)
    asked = 0

    def __call__(self, picture: Image.Image) -> list[Detection]:
        self.asked += 1
        mask = np.ones((picture.height, picture.width), dtype=bool)
        shown = picture.getpixel((0, 0)) != (0, 0, 0)
        return [Detection("dog", 0.9, (0, 0, *picture.size), mask)] if shown else []


def test_scores_follow_the_detector_and_the_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    monkeypatch.setattr(geneval, "_eyes", lambda sources, tools: (told, geneval.NearestColours()))
    (tmp_path / "data").mkdir()
    source = write(tmp_path / "data", LINES)
    items = GenEval(samples=2).items(source)
    black, red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("black", "red", "blue"))
    scores = BENCHMARK.score(items, [black, red, red, blue], Tools(source, tmp_path))
    assert [record.numbers["correct"] for record in scores.records] == [0, 1, 1, 0]
    assert scores.summary["single_object"] == 0.5 and scores.summary["colors"] == 0.5
    assert scores.summary["reasons"] == {
        "00000/samples/0000": "expected 1 x dog, found 0",
        "00001/samples/0001": "expected dog to be red, found blue",
    }
    again = BENCHMARK.score(items, [black, red, red, blue], Tools(source, tmp_path))
    assert again.records == scores.records and told.asked == 4
    missing = BENCHMARK.score(items, [None, red, red, None], Tools(source, tmp_path))
    assert missing.summary["overall"] == 1 and missing.summary["failed"] == 2
    odd = write(tmp_path / "data", [{**LINES[0], "include": [{"class": "unicorn", "count": 1}]}])
    with pytest.raises(ValueError, match="told has no class 'unicorn'; it has: dog"):
        BENCHMARK.score(GenEval(samples=1).items(odd), [red], Tools(odd, tmp_path))


def test_overall_is_the_unweighted_mean_of_the_tasks() -> None:
    """Ten right single objects and one wrong picture of every other task: 1/6, whatever the tasks' sizes."""
    records = [Record(f"{n:05d}/samples/0", {"task": "single_object"}, {"correct": 1.0}) for n in range(10)]
    records += [Record(f"{10 + n:05d}/samples/0", {"task": task}, {"correct": 0.0}) for n, task in enumerate(TASKS[1:])]
    summary = summary_of(records)
    assert summary["overall"] == pytest.approx(1 / 6) and summary["single_object"] == 1
    assert summary["correct_prompts"] == pytest.approx(10 / 15)
    assert summary["intervals"]["single_object"] == [1, 1]
    low, high = summary_of([*records, *(Record(f"{n}/s", {"task": "colors"}, {"correct": n % 2}) for n in range(40))])[
        "intervals"
    ]["overall"]
    assert low < 1.5 / 6 < high


def test_the_real_networks_run_with_tiny_weights(tmp_path: Path) -> None:
    source = write(tmp_path, LINES)
    items = GenEval(samples=1).items(source)
    backbones = {
        "detector": str(save_mask2former(tmp_path / "detector")),
        "colours": str(save_clip(tmp_path / "clip")),
    }
    pictures = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    scores = BENCHMARK.score(items, pictures, Tools(source, tmp_path, backbones=backbones))
    assert scores.summary["preset"] == "mask2former" and scores.summary["scored"] == 2
    assert scores.backbones["detector"].startswith("Mask2Former ") and scores.backbones["colours"].startswith("CLIP ")


def test_the_sample_covers_all_tasks_and_the_stand_ins_can_be_satisfied(tmp_path: Path) -> None:
    items = GenEval(samples=1).items(SAMPLE)
    assert sorted({item.groups["task"] for item in items}) == sorted(TASKS)
    wanted = {"a photo of a cat": ["cat"], "a photo of two cats": ["cat", "cat"]}
    wanted["a photo of a cat left of a sandwich"] = ["cat", "sandwich"]
    pictures: list[Image.Image | None] = [None] * len(items)
    for number, item in enumerate(items):
        if item.text in wanted:
            picture = Image.new("RGB", (160, 160), (140, 140, 140))
            for place, label in enumerate(wanted[item.text]):
                cutout = Image.open(SAMPLE.folder / "classes" / f"{label}-1.webp").convert("RGBA")
                picture.paste(cutout, (8 + 84 * place, 48), cutout)
            pictures[number] = picture
    scores = BENCHMARK.score(items, pictures, Tools(SAMPLE, tmp_path))
    assert scores.summary["scored"] == 3 and scores.summary["overall"] == 1, scores.summary["reasons"]
    assert scores.backbones["detector"].startswith("stand-in")


def test_bad_metadata_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected evaluation_metadata.jsonl in it"):
        BENCHMARK.items(Source(tmp_path))
    with pytest.raises(ValueError, match="line 2: expected a tag"):
        BENCHMARK.items(write(tmp_path, [LINES[0], {**LINES[1], "tag": "x"}]))
    (tmp_path / "evaluation_metadata.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match="line 1"):
        BENCHMARK.items(Source(tmp_path))
    (tmp_path / "evaluation_metadata.jsonl").write_text("")
    with pytest.raises(ValueError, match="the file is empty"):
        BENCHMARK.items(Source(tmp_path))
