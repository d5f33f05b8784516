"""From pictures to training samples: an endpoint that looks, contrast as segmenter, and the reader of the released format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mentor.cli.main import main
from mentor.config.sources import ReleasedOptions
from mentor.construction.annotation.build import find_pictures
from mentor.data.images import load_image
from mentor.data.records import FolderRecords
from mentor.data.released_format import released_example
from tests.construction.annotation.seeing_model import COLOURS, answer, shapes
from tests.vlm.model_server import Answer, ModelServer, model_server

NAMES = {"one.png": ["red square"], "deep/two.jpg": ["red square", "blue disc"], "three.png": list(COLOURS)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for name, shown in NAMES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shapes(shown)[0].save(folder / name, quality=95)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with model_server(answer) as server:
        yield server


def build(pictures: Path, out: Path, server: ModelServer, *words: str) -> int:
    return main(
        [
            *("build-data", str(pictures), "--out", str(out), "--vlm-url", server.url, "--vlm-model", "looks"),
            *("--segmenter", "contrast", "--device", "cpu", "--threads", "3", *words),
        ]
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def annotations(out: Path) -> dict[str, dict[str, Any]]:
    return {line["picture"]: line for path in sorted(out.glob("annotations-*")) for line in lines(path)}


def test_captions_names_and_masks_are_those_of_the_pictures(
    pictures: Path, tmp_path: Path, server: ModelServer
) -> None:
    assert build(pictures, tmp_path / "out", server) == 0
    found = annotations(tmp_path / "out")
    assert found.keys() == NAMES.keys()
    for name, shown in NAMES.items():
        line = found[name]
        assert line["caption"] == f"A {' and a '.join(shown)} on a white ground."
        assert line["size"] == [300, 200]
        assert [each["name"] for each in line["objects"]] == shown
        assert line["left_out"] == {"green cat": "the model does not see it"}
        for each in line["objects"]:
            mask = np.asarray(load_image(tmp_path / "out" / each["mask"], mask=True)) > 0
            truth = shapes(shown)[1][each["name"]]
            assert (mask & truth).sum() / (mask | truth).sum() > 0.95
            assert len(each["points"]) == 1  # the one beside the box is left out


def test_the_records_make_every_task_of_the_paper(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    build(pictures, tmp_path / "out", server)
    part = yaml.safe_load((tmp_path / "out" / "sources.yaml").read_text())["data"]
    counts = {source["path"].removesuffix(".jsonl"): source["weight"] for source in part["sources"]}
    assert counts == {"text_to_image": 3, "reconstruct": 3, "segment": 6, "recover": 6, "multi": 2}
    background = Image.new("RGB", (64, 64), "green")
    for task, count in counts.items():
        records = FolderRecords(tmp_path / "out" / f"{task}.jsonl")
        assert len(records) == count
        for index in range(count):
            record, read = records.open(index)
            example = released_example(
                record, read, 0, size=64, options=ReleasedOptions(), background=lambda rng: background
            )
            assert (example.task, example.target.size) == (task, (64, 64))
            if task == "segment":
                colour = np.asarray(example.target)[np.asarray(example.target).any(axis=-1)].mean(axis=0)
                assert np.abs(colour - COLOURS[record["objects"]]).max() < 25
    assert lines(tmp_path / "out" / "backgrounds.jsonl")[0] == {"input_image": "../pictures/deep/two.jpg"}


def test_a_second_run_asks_nothing_and_changes_nothing(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    build(pictures, tmp_path / "out", server)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    asked = len(server.requests)
    assert build(pictures, tmp_path / "out", server) == 0
    assert len(server.requests) == asked
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_killed_run_goes_on_after_its_last_whole_line(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    build(pictures, tmp_path / "out", server)
    (file,) = (tmp_path / "out").glob("annotations-*")
    whole = annotations(tmp_path / "out")
    text = file.read_text()
    file.write_text(text[: len(text) - 40])  # in the middle of the last line
    asked = len(server.requests)
    build(pictures, tmp_path / "out", server)
    assert annotations(tmp_path / "out") == whole
    assert len(server.requests) == asked  # its answers lay there


def test_shares_make_the_same_together(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    build(pictures, tmp_path / "one", server)
    for share in ("1/2", "0/2"):
        build(pictures, tmp_path / "two", server, "--share", share)
    assert annotations(tmp_path / "one") == annotations(tmp_path / "two")
    for task in ("segment", "multi", "text_to_image"):
        one, two = (tmp_path / folder / f"{task}.jsonl" for folder in ("one", "two"))
        assert one.read_text() == two.read_text()


def test_pictures_that_cannot_be_used_are_noted_once(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    (pictures / "cut.png").write_bytes((pictures / "one.png").read_bytes()[:100])
    Image.new("RGB", (20, 300)).save(pictures / "thin.png")
    build(pictures, tmp_path / "out", server)
    found = annotations(tmp_path / "out")
    assert "damaged or cut off" in found["cut.png"]["failure"]
    assert found["thin.png"]["failure"] == "20 x 300 pixels, at least 64 a side are wanted"
    assert len(lines(tmp_path / "out" / "text_to_image.jsonl")) == 3


def test_answers_that_cannot_be_read_are_asked_again_then_given_up(pictures: Path, tmp_path: Path) -> None:
    def mute(number: int, body: dict[str, Any]) -> Answer:
        return Answer("I'm sorry, I cannot describe this.")

    with model_server(mute) as server:
        build(pictures, tmp_path / "out", server, "--n", "1")
        assert len(server.requests) == 3
    (line,) = annotations(tmp_path / "out").values()
    assert line["failure"].startswith("caption: the model refuses")


def test_a_place_in_other_units_leaves_the_object_out(pictures: Path, tmp_path: Path) -> None:
    def in_thousandths(number: int, body: dict[str, Any]) -> Answer:
        return answer(number, body)

    with model_server(in_thousandths) as server:
        build(pictures, tmp_path / "out", server, "--units", "pixels", "--n", "1")
    (line,) = annotations(tmp_path / "out").values()
    assert "outside the picture; the model may count in other units" in line["left_out"]["blue disc"]


def test_a_model_that_is_down_costs_one_line_and_what_is_done_stays(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], server: ModelServer
) -> None:
    build(pictures, tmp_path / "out", server, "--n", "1")
    with model_server(lambda number, body: Answer(status=401)) as closed:
        assert build(pictures, tmp_path / "out", closed) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert "1 of 3 pictures are done: run again to go on" in told[-1]
    assert len(annotations(tmp_path / "out")) == 1


def test_unanswered_pictures_are_left_for_the_next_run(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    def strict(number: int, body: dict[str, Any]) -> Answer:
        reply = answer(number, body)
        return Answer(status=400) if "yellow" in str(reply.text) else reply

    with model_server(strict) as picky:
        assert build(pictures, tmp_path / "out", picky) == 0
    assert annotations(tmp_path / "out").keys() == {"one.png", "deep/two.jpg"}
    build(pictures, tmp_path / "out", server)
    assert annotations(tmp_path / "out").keys() == NAMES.keys()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--share", "2/2"], "--share: expected I/N"),
        (["--objects", "0"], "--objects: expected 1 or more, got 0"),
        (["--min-area", "2"], "min-area: expected 0 to 1, got 2.0"),
        (["--temperature", "nan"], "--temperature: expected 0 or more"),
        (["--segmenter", "no-such-folder/sam"], "cannot be loaded as a Segment Anything model"),
        (["--backgrounds", "nowhere"], "nowhere is no folder"),
    ],
)
def test_mistakes_cost_one_line(
    pictures: Path,
    tmp_path: Path,
    server: ModelServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    expected: str,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert build(pictures, tmp_path / "out", server, *words) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1
    assert server.requests == []


def test_a_foreign_file_is_not_added_to(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "annotations-00000-of-00001.jsonl").write_text('{"something": "else"}\n')
    assert build(pictures, tmp_path / "out", server) == 2


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no picture"):
        find_pictures(tmp_path)
