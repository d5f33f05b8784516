"""Sources: the same records give the same samples from a folder, from tar shards and from a Hugging Face data set."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mentor.config.data import DataConfig
from mentor.config.load import from_dict
from mentor.config.sources import SourceConfig
from mentor.data import record_file, waiting
from mentor.data.example import BadRecord, Example
from mentor.data.images import load_image
from mentor.data.processor import Processor
from mentor.data.recipe_samples import index_sources, recipe_samples
from mentor.data.shards import TASK_NAMES
from mentor.data.sources import Source, open_source
from mentor.data.tar_records import TarRecords
from tests.data.released_folder import GOOD, write_lines, write_pictures, write_released
from tests.generation.tiny_bundle import CONFIG, text_tokenizer

PAIRS = [{"image": f"{name}.png", "text": f"a picture of {name}"} for name in ("fox", "wide", "tall", "scene")]


def _open(**values: Any) -> Source:
    return open_source(SourceConfig(**values), split="train", size=32, seed=0)


def _same(one: Example, two: Example) -> bool:
    pictures = ((*e.prompt.images, e.target) for e in (one, two))
    alike = all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(*pictures, strict=True))
    return alike and one.prompt.text == two.prompt.text and one.task == two.task


def _tar(path: Path, samples: list[dict[str, bytes]], start: int = 0, form: int = tarfile.GNU_FORMAT) -> None:
    with tarfile.open(path, "w", format=form) as archive:
        for number, members in enumerate(samples, start):
            for rest, data in members.items():
                info = tarfile.TarInfo(f"part.one/{number:06d}{'x' * 90}.{rest}")  # longer than a header has room for
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def test_released_files(tmp_path: Path) -> None:
    path = write_released(tmp_path / "data", list(GOOD.values()))
    source = _open(kind="released", path=str(path), options={"backgrounds": "backgrounds.jsonl"})
    assert len(source) == len(GOOD)
    assert [source.example(i, 3).task for i in range(len(source))] == list(GOOD)
    again = pickle.loads(pickle.dumps(source))
    assert all(_same(source.example(i, 5), again.example(i, 5)) for i in range(len(source)))
    backgrounds = {
        source.example(list(GOOD).index("recover"), seed).prompt.images[0].getpixel((0, 0)) for seed in range(20)
    }
    assert backgrounds >= {(250, 0, 250), (0, 250, 250)}


def test_tasks_choose_records(tmp_path: Path) -> None:
    path = write_released(tmp_path / "data", [*list(GOOD.values()) * 3, "broken line", {"objects": 7}])
    source = _open(kind="released", path=str(path), options={"tasks": ["segment", "text_to_image"]})
    # The broken ones, 21 and 22, belong nowhere: each is drawn and rejected with the task that its number says.
    tasks = [TASK_NAMES[number % len(TASK_NAMES)] for number in (21, 22)]
    broken = sum(task in ("segment", "text_to_image") for task in tasks)
    assert len(source) == 6 + broken
    found = []
    for record in range(len(source)):
        try:
            found.append(source.example(record, 0).task)
        except BadRecord:
            found.append("broken")
    assert found == ["text_to_image", "segment"] * 3 + ["broken"] * broken
    every = [_open(kind="released", path=str(path), options={"tasks": [task]}) for task in GOOD]
    assert sum(len(source) for source in every) == 3 * len(GOOD) + sum(task in GOOD for task in tasks)
    stage1 = {"tasks": ["segment"], "recovery": False}
    assert len(_open(kind="released", path=str(path), options=stage1)) == 3 * 3 + tasks.count(
        "segment"
    )  # subject and recover are read so too
    with pytest.raises(ValueError, match="unknown segmnt; known: text_to_image"):
        _open(kind="released", path=str(path), options={"tasks": ["segmnt"]})
    only = write_lines(tmp_path / "data" / "only.jsonl", [GOOD["multi"]])
    with pytest.raises(ValueError, match="has no record of the tasks recover"):
        _open(kind="released", path=str(only), options={"tasks": ["recover"]})


def test_recovery_needs_backgrounds(tmp_path: Path) -> None:
    path = write_released(tmp_path / "data", [GOOD["recover"]])
    with pytest.raises(ValueError, match="give options.backgrounds") as caught:
        _open(kind="released", path=str(path)).example(0, 0)
    assert not isinstance(caught.value, BadRecord)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_shards_of_pairs_and_records(tmp_path: Path, form: int) -> None:
    write_pictures(tmp_path / "data")
    names = [pair["image"] for pair in PAIRS]
    plain = [
        {"png": (tmp_path / "data" / name).read_bytes(), "txt": p["text"].encode()}
        for name, p in zip(names, PAIRS, strict=True)
    ]
    _tar(tmp_path / "a-0.tar", plain[:3], form=form)
    _tar(tmp_path / "a-1.tar", plain[3:], start=3, form=form)
    write_lines(tmp_path / "data" / "pairs.jsonl", PAIRS)
    shards = _open(kind="webdataset", format="pairs", path=str(tmp_path / "a-*.tar"))
    files = _open(kind="pairs", path=str(tmp_path / "data" / "pairs.jsonl"))
    assert len(shards) == len(files) == 4
    assert all(_same(shards.example(i, 1), files.example(i, 1)) for i in (3, 0, 2, 1))
    record = GOOD["segment"] | {"image_path": "mask.png", "source_image": "scene.png"}
    members = {name: (tmp_path / "data" / name).read_bytes() for name in ("mask.png", "scene.png")}
    _tar(tmp_path / "b.tar", [{"json": json.dumps(record).encode()} | members], form=form)
    write_lines(tmp_path / "data" / "one.jsonl", [GOOD["segment"]])
    held = _open(kind="webdataset", format="released", path=str(tmp_path / "b.tar"))
    assert _same(held.example(0, 0), _open(kind="released", path=str(tmp_path / "data" / "one.jsonl")).example(0, 0))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux tells them")
def test_many_shards_keep_no_file_open_and_little_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large their indexes are: many systems allow 1,024 open files."""
    monkeypatch.setattr(record_file, "_MAPPED", 0)
    for number in range(30):
        _tar(tmp_path / f"a-{number:02d}.tar", [{"txt": b"a", "png": b"b"}] * 5, start=5 * number)
    pattern, before = str(tmp_path / "a-*.tar"), len(list(Path("/proc/self/fd").iterdir()))
    TarRecords(pattern)
    held = TarRecords(pattern)  # from what is kept on the disk
    assert len(list(Path("/proc/self/fd").iterdir())) <= before  # fewer where garbage of others was collected meanwhile
    assert len(held) == 150 and held._bounds.nbytes == 8 * (150 + 30)
    assert held.open(149)[0] == {"image": "png", "text": "a"}


def test_both_splits_and_sources_of_the_same_file_share_it(tmp_path: Path) -> None:
    others = [GOOD[task] | {"source_image": "wide.png"} for task in ("segment", "subject")]
    path = write_released(tmp_path / "data", [*list(GOOD.values()) * 3, *others])
    tasks = [{"kind": "released", "path": str(path), "options": {"tasks": [task]}} for task in ("segment", "subject")]
    data = from_dict(DataConfig, {"sources": tasks, "held_out": 1})
    processor = Processor(CONFIG, text_tokenizer())
    mixtures = recipe_samples(data, 0, processor, tmp_path / "rejects.jsonl")
    sources = [source for mixture in mixtures.values() for source in mixture.sources]
    assert len({id(source.records) for source in sources}) == 1
    assert [mixture.sample(0).task in ("segment", "subject") for mixture in mixtures.values()] == [True, True]


def test_scans_are_made_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that come later find what the first one found, X2I's instructions too."""
    path = write_released(tmp_path / "data", [{"instruction": "Draw it.", "output_image": "fox.png"}] * 30)
    options = {"examples": 1}
    data = from_dict(DataConfig, {"sources": [{"kind": "x2i", "path": str(path), "options": options}]})
    index_sources(data)
    monkeypatch.setattr(record_file, "_find_spans", lambda path: pytest.fail("searched again"))
    monkeypatch.setattr("mentor.data.records.values_of", lambda *_: pytest.fail("read again"))
    index_sources(data)
    source = _open(kind="x2i", path=str(path), options=options)
    again = pickle.loads(pickle.dumps(source))  # as a worker gets it
    assert len(again.example(3, 0).prompt.images) == len(source.example(3, 0).prompt.images) == 1


def test_a_long_scan_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "SECONDS", 0.01)
    path = write_lines(tmp_path / "a.jsonl", PAIRS)
    monkeypatch.setattr(record_file, "_find_spans", lambda path: time.sleep(0.2) or np.array([[0, 2]]))
    _open(kind="pairs", path=str(path))
    assert capsys.readouterr().err == f"finding the records of {path}, once\n"
    _open(kind="pairs", path=str(path))
    assert capsys.readouterr().err == ""


def test_shards_as_img2dataset_writes_them(tmp_path: Path) -> None:
    """Picture, caption and a json that only describes them; names of pictures in any case."""
    write_pictures(tmp_path / "data")
    about = {"caption": "a fox", "url": "https://example.org/fox.jpg", "status": "success", "width": 48}
    member = (tmp_path / "data" / "fox.png").read_bytes()
    _tar(tmp_path / "a.tar", [{"PNG": member, "txt": b"a fox", "json": json.dumps(about).encode()}])
    example = _open(kind="webdataset", format="pairs", path=str(tmp_path / "a.tar")).example(0, 0)
    write_lines(tmp_path / "data" / "pairs.jsonl", [{"image": "fox.png", "text": "a fox"}])
    assert _same(example, _open(kind="pairs", path=str(tmp_path / "data" / "pairs.jsonl")).example(0, 0))


def test_tasks_are_found_in_shards_without_reading_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "data")
    samples = []
    for task in ("segment", "text_to_image", "segment"):
        record = {
            name: Path(value).name if name.endswith(("path", "source_image")) else value
            for name, value in GOOD[task].items()
        }
        names = {str(record["image_path"]), str(record["source_image"])}
        samples.append({"json": json.dumps(record).encode()} | {n: (tmp_path / "data" / n).read_bytes() for n in names})
    _tar(tmp_path / "a-0.tar", samples[:2])
    _tar(tmp_path / "a-1.tar", samples[2:])
    options = {"kind": "webdataset", "format": "released", "path": str(tmp_path / "a-*.tar")}
    source = _open(**options, options={"tasks": ["segment"]})
    assert [source.example(n, 0).task for n in range(len(source))] == ["segment", "segment"]
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("a shard was read again"))
    assert len(_open(**options, options={"tasks": ["segment"]})) == 2


def test_damaged_shards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no shard matches"):
        _open(kind="webdataset", format="pairs", path=str(tmp_path / "*.tar"))
    _tar(tmp_path / "a.tar", [{"txt": b"no picture"}, {"png": b"nothing", "txt": b"a"}, {"json": b"{"}])
    source = _open(kind="webdataset", format="pairs", path=str(tmp_path / "a.tar"))
    for record, reason in enumerate(["image: missing", "png: not a picture", "not valid JSON"]):
        with pytest.raises(BadRecord, match=reason):
            source.example(record, 0)
    (tmp_path / "b.tar").write_bytes(b"this is no archive" * 100)
    with pytest.raises(ValueError, match="b.tar is not a readable tar file"):
        _open(kind="webdataset", format="pairs", path=str(tmp_path / "b.tar"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_hugging_face_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    write_pictures(tmp_path / "data")
    rows = [{"image": load_image(tmp_path / "data" / pair["image"]), "text": pair["text"]} for pair in PAIRS]
    columns = {"image": datasets.Image(), "text": datasets.Value("string")}
    saved = datasets.Dataset.from_list(rows, features=datasets.Features(columns))
    saved.save_to_disk(str(tmp_path / "hf"))
    held = _open(kind="huggingface", format="pairs", path=str(tmp_path / "hf"))
    write_lines(tmp_path / "data" / "pairs.jsonl", PAIRS)
    files = _open(kind="pairs", path=str(tmp_path / "data" / "pairs.jsonl"))
    assert len(held) == 4
    assert all(_same(held.example(i, 0), files.example(i, 0)) for i in range(4))
    images = {
        "instruction": ["Put <|image_1|>"],
        "input_images": [[rows[0]["image"]]],
        "output_image": [rows[1]["image"]],
    }
    columns = {
        "instruction": datasets.Value("string"),
        "input_images": [datasets.Image()],
        "output_image": datasets.Image(),
    }
    datasets.Dataset.from_dict(images, features=datasets.Features(columns)).save_to_disk(str(tmp_path / "x2i"))
    example = _open(kind="huggingface", format="x2i", path=str(tmp_path / "x2i")).example(0, 0)
    assert example.prompt.text == "Put <image>"
    with_examples = {"kind": "huggingface", "format": "x2i", "path": str(tmp_path / "x2i"), "options": {"examples": 1}}
    _open(**with_examples)
    with monkeypatch.context() as patch:
        patch.setattr("mentor.data.records.values_of", lambda *_: pytest.fail("read again"))
        assert len(_open(**with_examples)) == 1
        images["instruction"] = ["Draw <|image_1|>"]
        other = datasets.Dataset.from_dict(images, features=datasets.Features(columns))
        other.save_to_disk(str(tmp_path / "x2i"))
        with pytest.raises(pytest.fail.Exception, match="read again"):
            _open(**with_examples)
    datasets.DatasetDict(train=saved).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(ValueError, match="holds the splits train"):
        _open(kind="huggingface", format="pairs", path=str(tmp_path / "splits"))
    with pytest.raises(ValueError, match="is no data set saved"):
        _open(kind="huggingface", format="pairs", path=str(tmp_path / "data"))


def test_in_context_records_come_from_the_same_file(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    records = [
        {"instruction": f"{verb} <|image_1|>", "input_images": ["fox.png"], "output_image": out}
        for verb in ("Segment", "Turn")
        for out in ("wide.png", "tall.png", "scene.png")
    ]
    path = write_lines(
        tmp_path / "icl.jsonl", [*records, {"instruction": "Once <|image_1|>", "input_images": ["fox.png"]}]
    )
    source = _open(kind="x2i", path=str(path), options={"examples": 2, "max_images": 5})
    text = source.example(4, 7).prompt.text
    assert text == "Turn <image>\nThe image is <image>\nTurn <image>\nThe image is <image>\nTurn <image>"
    pictures = source.example(4, 7).prompt.images
    assert np.asarray(pictures[1]).tobytes() != np.asarray(pictures[3]).tobytes()
    assert _same(source.example(4, 7), source.example(4, 7))
    with pytest.raises(BadRecord, match="found 0 other records"):
        source.example(6, 0)


def test_every_record_finds_its_like_among_many_instructions(tmp_path: Path) -> None:
    """Tried at random, a partner among 400 instructions would hardly ever be found."""
    write_pictures(tmp_path)
    records = [
        {"instruction": f"Segment {number // 2} <|image_1|>", "input_images": ["fox.png"], "output_image": "wide.png"}
        for number in range(800)
    ]
    path = write_lines(tmp_path / "icl.jsonl", records)
    source = _open(kind="x2i", path=str(path), options={"examples": 1, "max_images": 5})
    for number in (0, 413, 799):
        assert source.example(number, 1).prompt.text.count(f"Segment {number // 2} <image>") == 2
    with pytest.raises(BadRecord, match="found 0 other records"):
        source.example(5, 1, lambda records: records[records > 5])


def test_configurations_are_checked() -> None:
    for values, reason in (
        ({"kind": "released"}, "path: a source of kind released needs one"),
        ({"kind": "webdataset", "path": "a"}, "format: a source of kind webdataset needs one"),
        ({"kind": "x2i", "path": "a", "format": "x2i"}, "has its own; leave it out"),
        (
            {"kind": "x2i", "path": "a", "options": {"example": 1}},
            "unknown key 'options.example'; did you mean 'examples'",
        ),
        ({"kind": "x2i", "path": "a", "weight": -1.0}, "weight: expected a share"),
    ):
        with pytest.raises(ValueError, match=reason):
            SourceConfig(**values)
