"""``mentor precompute``: shards from any source, broken records told, too many of them one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mentor.cli.main import main
from mentor.config.load import to_dict
from mentor.data.shards import PrecomputedDataset
from tests.data.released_folder import GOOD, write_released
from tests.generation.tiny_bundle import CONFIG


def tiny_recipe(tmp_path: Path, tiny_model: Path, records: list[object]) -> Path:
    path = write_released(tmp_path / "data", records)
    values = {
        "name": "tiny",
        "objective": "mentor",
        "model": {"overrides": to_dict(CONFIG) | {"context": 60}},
        "init": {"bundle": str(tiny_model)},
        "data": {
            "folder": str(path.parent),
            "sources": [{"kind": "released", "path": path.name, "options": {"backgrounds": "backgrounds.jsonl"}}],
            "samples": 30,
            "held_out": 3,
            "reject_limit": 0.02,
            "shards": str(tmp_path / "shards"),
        },
    }
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_shards_of_released_records(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = GOOD["subject"] | {"image_path": "absent.png"}
    recipe = tiny_recipe(tmp_path, tiny_model, [*list(GOOD.values()) * 4, broken])
    assert main(["precompute", str(recipe), "--workers", "0", "--device", "cpu"]) == 0
    told = capsys.readouterr()
    train, held_out = (PrecomputedDataset(tmp_path / "shards", split) for split in ("train", "held_out"))
    assert (len(train), len(held_out)) == (30, 3)
    # Held out is the picture: where all records of a task draw the same one, training has none of them.
    assert set(train.counts()) | set(held_out.counts()) == set(GOOD) and train.counts()
    assert "broken records: 1 (2.94% of those drawn)" in " ".join(told.err.split())
    assert (tmp_path / "shards" / "rejects.jsonl").read_text().count("absent.png") >= 1


@pytest.mark.parametrize(
    ("flag", "value", "least"), [("--shard-size", "0", 1), ("--shard-size", "-5", 1), ("--workers", "-1", 0)]
)
def test_numbers_that_cannot_be_are_one_line(
    capsys: pytest.CaptureFixture[str], flag: str, value: str, least: int
) -> None:
    assert main(["precompute", "debug", flag, value]) == 2
    assert f"{flag}: expected {least} or more, got {value}" in capsys.readouterr().err


def test_a_launcher_is_refused(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All processes would make the same shards, and write over each other's."""
    recipe = tiny_recipe(tmp_path, tiny_model, list(GOOD.values()) * 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["precompute", str(recipe)]) == 2
    assert "start it without torchrun" in capsys.readouterr().err
    assert not (tmp_path / "shards").exists()


def test_too_many_broken_records_are_one_line(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny_recipe(tmp_path, tiny_model, [GOOD["text_to_image"], *["{"] * 20])
    assert main(["precompute", str(recipe), "--workers", "1", "--device", "cpu"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "records are broken, more than data.reject_limit 0.02 allows" in lines[-1]
    assert not any("Traceback" in line for line in lines)
