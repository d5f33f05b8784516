"""From pictures to training samples: an endpoint that looks, contrast as segmenter, and the reader of the released format."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import yaml
from PIL import Image

from mentor.cli.main import main
from mentor.config.data import DataConfig
from mentor.config.load import from_dict
from mentor.construction.annotation.build import find_pictures
from mentor.construction.annotation.store import AnnotationFile
from mentor.data.images import load_image
from mentor.data.sources import open_source
from mentor.vlm.client import open_jpeg
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
    stage1 = {"released": part["defaults"]["released"] | {"recovery": False}}
    data = from_dict(DataConfig, {**part, "defaults": stage1})
    for source in data.all_sources:
        opened = open_source(source, split="train", size=64, seed=0)
        task = source.path.removesuffix(".jsonl").rpartition("/")[2]
        for number in range(counts[task]):
            example = opened.example(number, number)
            assert (example.task, example.target.size) == (task, (64, 64))
            if task == "segment":
                colour = np.asarray(example.target)[np.asarray(example.target).any(axis=-1)].mean(axis=0)
                assert min(np.abs(colour - np.array(known)).max() for known in COLOURS.values()) < 25
    assert {line["input_image"] for line in lines(tmp_path / "out" / "backgrounds.jsonl")} == {
        f"../pictures/{name}" for name in NAMES
    }


def test_pictures_and_records_may_be_moved_together(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    (tmp_path / "there").mkdir()
    build(pictures, tmp_path / "out", server)
    text = (tmp_path / "out" / "sources.yaml").read_text()
    assert "data.folder" in text.splitlines()[1]
    for name in ("out", "pictures"):
        (tmp_path / name).rename(tmp_path / "there" / name)
    moved = yaml.safe_load(text)["data"] | {"folder": str(tmp_path / "there" / "out")}
    for source in from_dict(DataConfig, moved).all_sources:
        open_source(source, split="train", size=64, seed=0).example(0, 0)


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


def records(out: Path) -> dict[str, set[str]]:
    tasks = ("text_to_image", "reconstruct", "segment", "recover", "multi")
    found = {task: (out / f"{task}.jsonl").read_text().splitlines() for task in tasks}
    assert all(len(set(each)) == len(each) for each in found.values())
    return {task: set(each) for task, each in found.items()}


def test_shares_make_the_same_together_also_when_pictures_are_added(
    pictures: Path, tmp_path: Path, server: ModelServer
) -> None:
    for share in ("1/2", "0/2"):
        build(pictures, tmp_path / "two", server, "--share", share)
    shapes(["blue disc"])[0].save(pictures / "a-new-one.png")
    for share in ("0/2", "1/2"):
        build(pictures, tmp_path / "two", server, "--share", share)
    assert not (tmp_path / "two" / "segment.jsonl").exists()
    assert build(pictures, tmp_path / "two", server, "--records-only") == 0
    build(pictures, tmp_path / "one", server)
    assert annotations(tmp_path / "one") == annotations(tmp_path / "two")
    assert records(tmp_path / "one") == records(tmp_path / "two")
    assert len(records(tmp_path / "two")["text_to_image"]) == 4


def test_a_line_that_is_being_written_is_left_out(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    build(pictures, tmp_path / "out", server)
    before = records(tmp_path / "out")
    with next((tmp_path / "out").glob("annotations-*")).open("ab") as file:
        file.write(b'{"picture": "f\xc3')
    assert build(pictures, tmp_path / "out", server, "--records-only") == 0
    assert records(tmp_path / "out") == before


@pytest.mark.parametrize("words", [["--share", "0/2"], ["--max-area", "0.5"], ["--vlm-model", "another"]])
def test_a_folder_keeps_to_its_settings(
    pictures: Path, tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    build(pictures, tmp_path / "out", server)
    asked = len(server.requests)
    assert build(pictures, tmp_path / "out", server, *words) == 2
    assert len(server.requests) == asked
    assert capsys.readouterr().err.count("\n") < 3


def test_a_run_that_made_nothing_binds_nobody(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    with model_server(lambda number, body: Answer(status=404)) as without:
        assert build(pictures, tmp_path / "out", without, "--vlm-model", "mistyped") == 2
    assert build(pictures, tmp_path / "out", server) == 0
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["model"] == "looks"


def test_annotations_without_their_settings_are_not_added_to(
    pictures: Path, tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    build(pictures, tmp_path / "out", server)
    (tmp_path / "out" / "settings.json").unlink()
    assert build(pictures, tmp_path / "out", server) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_share_has_one_writer(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from mentor.construction.annotation.store import AnnotationFile\n"
        "with AnnotationFile.opened(Path(sys.argv[1]), {}): print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"open\n"
            with pytest.raises(ValueError, match="another process writes it"), AnnotationFile.opened(tmp_path, {}):
                pass
            with AnnotationFile.opened(tmp_path / "elsewhere", {}):
                pass
        finally:
            other.kill()


def test_names_that_are_no_text_and_words_that_are_odd(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    for name in ("\udce9.png", "a\u2028b.png", "f\u00fcchse.png"):
        shapes(["red square"])[0].save(pictures / "x.png")
        (pictures / "x.png").rename(pictures / name)
    assert build(pictures, tmp_path / "out", server) == 0
    assert build(pictures, tmp_path / "out", server) == 0
    found = records(tmp_path / "out")["text_to_image"]
    assert len(found) == 6
    for line in found:
        load_image(tmp_path / "out" / json.loads(line)["image_path"])


def test_records_of_other_pictures_or_missing_shares_are_refused(
    pictures: Path, tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    build(pictures, tmp_path / "out", server, "--share", "0/2")
    assert build(pictures, tmp_path / "out", server, "--records-only") == 2
    assert "of the shares 1 nothing is there yet" in capsys.readouterr().err
    build(pictures, tmp_path / "out", server, "--share", "1/2")
    pictures.rename(tmp_path / "elsewhere")
    for words in (["--records-only"], ["--share", "0/2"]):
        assert build(tmp_path / "elsewhere", tmp_path / "out", server, *words) == 2
        assert "../pictures" in capsys.readouterr().err
    assert build(tmp_path / "elsewhere", tmp_path / "elsewhere", server) == 2


def test_a_model_that_answers_about_no_picture_costs_one_line(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_server(lambda number, body: Answer(status=400)) as blind:
        assert build(pictures, tmp_path / "out", blind) == 2
    told = capsys.readouterr().err
    assert "does not answer about a picture: HTTP 400" in told
    assert told.count("\n") == 1


def test_what_it_wrote_itself_is_no_picture(pictures: Path, server: ModelServer) -> None:
    for _ in range(2):
        build(pictures, pictures / "made", server)
    assert annotations(pictures / "made").keys() == NAMES.keys()


def test_files_with_other_endings_are_counted(
    pictures: Path, tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes(["red square"])[0].save(pictures / "four.ppm")
    (pictures / "deep" / "video.mp4").touch()
    (pictures / ".hidden").touch()
    build(pictures, tmp_path / "out", server)
    assert f"left out: 2 files of {pictures} whose names" in capsys.readouterr().out
    assert annotations(tmp_path / "out").keys() == {*NAMES, "four.ppm"}


def test_a_model_without_temperature_and_limit(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    assert build(pictures, tmp_path / "out", server, "--temperature", "none", "--max-tokens", "0") == 0
    assert not any({"temperature", "max_tokens"} & body.keys() for body in server.requests)


def test_pictures_that_cannot_be_used_are_noted_once(pictures: Path, tmp_path: Path, server: ModelServer) -> None:
    (pictures / "cut.png").write_bytes((pictures / "one.png").read_bytes()[:100])
    Image.new("RGB", (20, 300)).save(pictures / "thin.png")
    build(pictures, tmp_path / "out", server)
    found = annotations(tmp_path / "out")
    assert "damaged or cut off" in found["cut.png"]["failure"]
    assert found["thin.png"]["failure"] == "20 x 300 pixels; wanted are 64 a side or more, and no strips"
    assert len(lines(tmp_path / "out" / "text_to_image.jsonl")) == 3


def test_answers_that_cannot_be_read_are_asked_again_with_the_reason(pictures: Path, tmp_path: Path) -> None:
    def mute(number: int, body: dict[str, Any]) -> Answer:
        words = str(body["messages"][0])
        return answer(number, body) if "red square" in words else Answer("I'm sorry, I cannot describe this.")

    with model_server(mute) as server:
        build(pictures, tmp_path / "out", server, "-n", "1", "--threads", "1")
        tries = [request["messages"] for request in server.requests if "red square" not in str(request["messages"][0])]
    assert [len(messages) for messages in tries] == [1, 3, 5]
    assert "cannot be used: the model refuses" in tries[1][-1]["content"]
    (line,) = annotations(tmp_path / "out").values()
    assert line["failure"].startswith("caption: the model refuses")


def test_an_answer_that_breaks_off_is_none(pictures: Path, tmp_path: Path) -> None:
    def endless(number: int, body: dict[str, Any]) -> Answer:
        reply = answer(number, body)
        if reply.text is not None and reply.text.startswith("Caption"):
            message = {"message": {"role": "assistant", "content": reply.text}, "finish_reason": "length"}
            return Answer(body=json.dumps({"choices": [message]}).encode())
        return reply

    with model_server(endless) as server:
        build(pictures, tmp_path / "out", server, "-n", "1")
        assert all(request["max_tokens"] == 512 for request in server.requests)
    (line,) = annotations(tmp_path / "out").values()
    assert line["failure"] == "caption: the answer is too long (3 tries)"


def test_a_model_without_a_list_keeps_its_captions(pictures: Path, tmp_path: Path) -> None:
    def talkative(number: int, body: dict[str, Any]) -> Answer:
        reply = answer(number, body)
        return Answer("a few things") if reply.text is not None and "```" in reply.text else reply

    with model_server(talkative) as server:
        build(pictures, tmp_path / "out", server)
    assert all(
        not line["objects"] and "JSON list" in line["left_out"]["objects"]
        for line in annotations(tmp_path / "out").values()
    )
    assert len(records(tmp_path / "out")["reconstruct"]) == 3


def in_pixels(number: int, body: dict[str, Any]) -> Answer:
    """Counts in pixels, whatever it is asked for."""
    reply = answer(number, body)
    picture = open_jpeg(base64.b64decode(body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]))
    if reply.text is None or not reply.text.startswith('{"box": ['):
        return reply
    scale = [side / 1000 for side in picture.size] * 2
    box = [number * side for number, side in zip(json.loads(reply.text)["box"], scale, strict=True)]
    return Answer(json.dumps({"bbox_2d": box}))


def test_the_units_are_tried_before_the_first_picture(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], server: ModelServer
) -> None:
    with model_server(in_pixels) as counting:
        assert build(pictures, tmp_path / "out", counting) == 2
        assert "--units: the model counts in pixels, not in thousandths" in capsys.readouterr().err
        assert len(counting.requests) == 1
        assert build(pictures, tmp_path / "pixels", counting, "--units", "pixels") == 0
    build(pictures, tmp_path / "thousandths", server)
    assert records(tmp_path / "pixels") == records(tmp_path / "thousandths")
    with model_server(lambda number, body: Answer("a red square, I suppose, is somewhere")) as blind:
        build(pictures, tmp_path / "blind", blind)
    assert "note: the model does not find a red square" in capsys.readouterr().err


def test_a_model_that_is_down_costs_one_line_and_what_is_done_stays(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], server: ModelServer
) -> None:
    build(pictures, tmp_path / "out", server, "-n", "1")
    with model_server(lambda number, body: Answer(status=401)) as closed:
        assert build(pictures, tmp_path / "out", closed) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert "1 of 3 pictures are done: run again to go on" in told[-1]
    assert len(annotations(tmp_path / "out")) == 1


def test_unanswered_pictures_are_left_for_the_next_run(
    pictures: Path, tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def strict(number: int, body: dict[str, Any]) -> Answer:
        reply = answer(number, body)
        return Answer(status=400) if "yellow" in str(reply.text) else reply

    with model_server(strict) as picky:
        assert build(pictures, tmp_path / "out", picky) == 0
    assert "1 pictures were not answered (the last: HTTP 400" in capsys.readouterr().out
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
        (["--max-tokens", "-1"], "--max-tokens: expected 1 or more, or 0 for no limit"),
        (["--vlm-url", "local", "--max-tokens", "0"], "a model on this computer needs both"),
        (["--segmenter", "no-such-folder/sam"], "Segment Anything no-such-folder/sam cannot be loaded"),
        (["--backgrounds", "nowhere"], "nowhere is no folder"),
        (["--vlm-url", ""], "--vlm-url, --vlm-model: name the vision-language model"),
        (["--records-only"], "holds no annotations"),
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
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
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


def mute(number: int, body: dict[str, Any]) -> Answer:
    """Finds the red square of the units' check, and has no words for pictures."""
    return answer(number, body) if "red square" in str(body["messages"][0]) else Answer("Hm.")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    (tmp_path / "many").mkdir()
    for number in range(40):
        shapes(["red square"], (300 + number, 200))[0].save(tmp_path / "many" / f"{number:02d}.png")
    (tmp_path / "many" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "many"


def test_a_model_that_gives_nothing_is_told_before_it_costs_much(
    many: Path, tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_server(mute) as useless:
        assert build(many, tmp_path / "out", useless) == 2
        assert len(useless.requests) < 1 + 3 * (20 + 6)
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "20 of the first 20 pictures gave nothing, the last: caption: expected a sentence" in told
    assert str(tmp_path / "out" / "answers") in told
    assert annotations(tmp_path / "out") == {}
    shutil.rmtree(tmp_path / "out" / "answers")
    assert build(many, tmp_path / "out", server) == 0
    assert sum("failure" not in line for line in annotations(tmp_path / "out").values()) == 40
    assert "failure" in annotations(tmp_path / "out")["broken.png"]


def test_failures_among_many_are_noted_as_they_come(many: Path, tmp_path: Path) -> None:
    def some(number: int, body: dict[str, Any]) -> Answer:
        picture = open_jpeg(base64.b64decode(body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]))
        return mute(number, body) if picture.width > 325 else answer(number, body)

    with model_server(some) as partly:
        assert build(many, tmp_path / "out", partly, "--threads", "1") == 0
    failed = {name for name, line in annotations(tmp_path / "out").items() if "failure" in line}
    assert len(annotations(tmp_path / "out")) == 41
    assert 1 < len(failed) < 20


def test_failures_are_asked_anew_when_that_is_wanted(
    pictures: Path, tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_server(mute) as useless:
        build(pictures, tmp_path / "out", useless)
        asked = len(useless.requests)
        assert build(pictures, tmp_path / "out", useless, "--retry-failures") == 2
        assert f"{tmp_path / 'out'}: no picture has an annotation" in capsys.readouterr().err
        assert [path.name[:11] for path in (tmp_path / "out").glob("*.jsonl")] == ["annotations"]
        assert not (tmp_path / "out" / "sources.yaml").exists()
        assert len(useless.requests) == 2 * asked - 1, "all but the units' check"
        build(pictures, tmp_path / "out", useless)
        assert len(useless.requests) == 2 * asked - 1
    assert [line["attempt"] for line in annotations(tmp_path / "out").values()] == [1, 1, 1]
    assert build(pictures, tmp_path / "out", server, "--retry-failures") == 0
    (file,) = (tmp_path / "out").glob("annotations-*")
    assert len(lines(file)) == 9
    build(pictures, tmp_path / "fresh", server)
    assert records(tmp_path / "out") == records(tmp_path / "fresh")


def test_large_pictures_are_annotated_small_and_keep_their_size(tmp_path: Path, server: ModelServer) -> None:
    (tmp_path / "pictures").mkdir()
    picture, truth = shapes(["red square", "blue disc"], (3000, 2000))
    picture.save(tmp_path / "pictures" / "large.png")
    build(tmp_path / "pictures", tmp_path / "out", server)
    (line,) = annotations(tmp_path / "out").values()
    assert line["size"] == [3000, 2000]
    for each in line["objects"]:
        mask = load_image(tmp_path / "out" / each["mask"], mask=True)
        assert mask.size == (1536, 1024)
        found = np.asarray(mask.resize((3000, 2000), Image.Resampling.NEAREST)) > 0
        assert (found & truth[each["name"]]).sum() / (found | truth[each["name"]]).sum() > 0.95
    data = from_dict(DataConfig, yaml.safe_load((tmp_path / "out" / "sources.yaml").read_text())["data"])
    segment = next(source for source in data.all_sources if source.path is not None and "segment" in source.path)
    example = open_source(segment, split="train", size=64, seed=0).example(0, 0)
    assert np.array_equal(np.asarray(example.target).any(axis=-1), example.object_mask)
