from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.evaluation.backbones import Dino
from mentor.evaluation.dreambench import BENCHMARK, DreamBench, read_prompts
from mentor.evaluation.metrics import cosine
from mentor.evaluation.protocol import Source, Tools
from tests.evaluation.networks import save_clip, save_dino

SAMPLE = Source(Path(str(files("mentor"))) / "assets/samples/dreambench", sample=True)
LIST = """Classes

subject_name,class
dog2,dog
rc_car,toy

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
"a purple {0} {1}".format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} wearing a red hat'.format(unique_token, class_token),
]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for subject in ("dog2", "rc_car"):
        (tmp_path / "dataset" / subject).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
            picture = Image.fromarray(pixels).resize((80, 64), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "dataset" / subject / f"{number:02d}.png")
    (tmp_path / "dataset" / "prompts_and_classes.txt").write_text(LIST)
    return tmp_path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("networks")
    return {
        "clip": str(save_clip(folder / "clip")),
        "dino": str(save_dino(folder / "dino", 1)),
        "dinov2": str(save_dino(folder / "dinov2", 2)),
    }


def test_items_pair_every_subject_with_the_prompts_of_its_kind(folder: Path) -> None:
    items = BENCHMARK.items(Source(folder))
    assert len(items) == 4 * (1 + 2)
    assert [item.key for item in items[::4]] == ["dog2/00_0", "rc_car/00_0", "rc_car/01_0"]
    assert [item.text for item in items[::4]] == ["a dog wearing a red hat", "a toy in the jungle", "a purple toy"]
    assert [item.seed for item in items[:4]] == [0, 1, 2, 3]
    assert items[4].prompt.text == "The toy in <image>.\na toy in the jungle"
    assert len(items[4].references) == 3 and items[4].prompt.images[0] is items[4].references[0]
    assert items[4].groups == {"subject": "rc_car", "kind": "object"} and items[0].groups["kind"] == "live"
    assert [item.key for item in BENCHMARK.items(Source(folder / "dataset"))] == [item.key for item in items]


def test_the_official_file_has_25_prompts_of_each_kind_for_30_subjects(tmp_path: Path) -> None:
    """The official file's shape, with other words: names with underscores, classes of two words, both kinds of lists."""
    classes = "".join(f"thing_{number},stuffed animal\n" for number in range(30))
    calls = "".join(f"'a {{0}} {{1}} on top of {number}'.format(unique_token, class_token),\n" for number in range(25))
    lists = f"Object Prompts\n\nprompt_list = [\n{calls}]\n\nLive Subject Prompts\n\nprompt_list = [\n{calls}]\n"
    (tmp_path / "p.txt").write_text(f"Classes\n\nsubject_name,class\n{classes}\nPrompts\n\n{lists}")
    subjects, objects, live = read_prompts(tmp_path / "p.txt")
    assert (len(subjects), len(objects), len(live)) == (30, 25, 25)
    assert subjects["thing_7"] == "stuffed animal" and objects[24] == "a {0} {1} on top of 24"


@pytest.mark.parametrize("preset", ["dreambench_pp", "stand-in"])
def test_the_reference_as_the_answer_gives_one(folder: Path, networks: dict[str, str], preset: str) -> None:
    source = Source(folder)
    items = BENCHMARK.items(source)
    backbones = networks if preset == "dreambench_pp" else {}
    scores = BENCHMARK.score(
        items, [item.references[0] for item in items], Tools(source, folder, preset=preset, backbones=backbones)
    )
    for name in ("dino", "dinov2", "clip_i"):
        assert scores.summary[name] == pytest.approx(1, abs=1e-6)
    assert scores.summary["clip_t"] < 0.9
    assert scores.backbones["dino"].startswith("DINO " if backbones else "stand-in")
    assert any("stand-in" in note.lower() for note in scores.notes) is (preset == "stand-in")
    assert {row.label for row in scores.published} >= {"MENTOR"}


def test_the_original_protocol_averages_over_all_pictures_of_the_subject(
    folder: Path, networks: dict[str, str]
) -> None:
    source = Source(folder)
    items = DreamBench(samples=1).items(source)
    answers = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    scores = BENCHMARK.score(items, answers, Tools(source, folder, preset="original", backbones=networks))
    dino = Dino(networks["dino"])
    for item, answer, record in zip(items, answers, scores.records, strict=True):
        one = np.repeat(dino.images([answer]), 3, axis=0)
        assert record.numbers["dino"] == pytest.approx(cosine(one, dino.images(item.references)).mean(), abs=1e-5)
    assert scores.summary["preset"] == "original"


def test_missing_pictures_are_counted_and_left_out(folder: Path) -> None:
    source = Source(folder)
    items = DreamBench(samples=1).items(source)
    answers = [items[0].references[0], None, items[2].references[0]]
    scores = BENCHMARK.score(items, answers, Tools(source, folder, preset="stand-in"))
    assert [record.failure for record in scores.records] == [None, "no picture", None]
    assert (scores.summary["scored"], scores.summary["failed"]) == (2, 1)
    assert scores.summary["dino"] == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="nothing could be scored: no picture"):
        BENCHMARK.score(items, [None] * 3, Tools(source, folder, preset="stand-in"))


def test_the_sample_is_a_small_data_set_of_the_official_layout(tmp_path: Path) -> None:
    items = BENCHMARK.items(SAMPLE)
    assert len(items) == 36 and {item.groups["kind"] for item in items} == {"live", "object"}
    scores = BENCHMARK.score(items, [item.references[0] for item in items], Tools(SAMPLE, tmp_path))
    assert scores.summary["preset"] == "stand-in" and scores.summary["clip_i"] == pytest.approx(1, abs=1e-6)


def test_bad_folders_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match="expected dataset in it"):
        BENCHMARK.items(Source(tmp_path / "nowhere"))
    (folder / "dataset" / "rc_car" / "01.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="rc_car.01.png: not a picture"):
        BENCHMARK.items(Source(folder))
    for path in (folder / "dataset" / "rc_car").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="rc_car: expected pictures"):
        BENCHMARK.items(Source(folder))
    (folder / "dataset" / "prompts_and_classes.txt").write_text("subject_name,class\n")
    with pytest.raises(ValueError, match="found 0 subjects, 0 and 0 prompts"):
        BENCHMARK.items(Source(folder))
    (folder / "dataset" / "prompts_and_classes.txt").unlink()
    with pytest.raises(ValueError, match="cannot be read; expected the prompts_and_classes.txt"):
        BENCHMARK.items(Source(folder))
