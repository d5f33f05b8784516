"""A dry run: numbers of the real model, no weights or data needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mentor.cli.main import main
from mentor.config.recipes import load_recipe
from mentor.training.distributed import Processes
from mentor.training.outline import outline
from tests.training.tiny_mentor import rows, write

ALONE = Processes(0, 1, torch.device("cpu"))


def test_stage_1_of_the_full_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/xl/stage0/final").mkdir(parents=True)
    lines = outline(load_recipe("xl/stage1"), ALONE)
    for line in (
        "encoder: 0 trained, 1,533,002,752 frozen",
        "projector: 4,259,840 trained, 0 frozen",
        "decoder: 773,418,240 trained, 0 frozen",
        "null_condition: 1,048,576 trained, 0 frozen",
        "steps: 19,375, warm-up steps: 969",
        "effective batch: 128 (128 x 1), samples in all: 2,480,000",
        "final learning rate: 5e-05",
        "samples by task: text_to_image 700,000, reconstruct 180,000, segment 1,600,000",
        "answers to the conflicts: fixed",
        "start: runs/xl/stage0/final",
        "start (decoder): runs/xl/rope/final (not here)",
        "source: data/Mentor_Stage1/train_stage1.jsonl (released, weight 700) (not here)",
    ):
        assert line in lines, "\n".join(lines)


def test_the_released_stage_1_warms_up_for_a_fifth() -> None:
    lines = outline(load_recipe("xl/stage1", ["variant=as_released"]), ALONE)
    assert "steps: 6,459, warm-up steps: 1,292" in lines
    assert "projector: 0 trained, 4,259,840 frozen" in lines
    assert "answers to the conflicts: as_released" in lines


def test_the_parts_of_the_image_tokenizer_are_those_that_training_knows() -> None:
    trained = "[tokenizer.decoder,tokenizer.post_quant_conv]"
    lines = outline(load_recipe("tokenizer", [f"trainable={trained}"]), ALONE)
    (line,) = [line for line in lines if line.startswith("tokenizer: ")]
    assert not line.startswith("tokenizer: 0 trained") and ", 0 frozen" not in line
    with pytest.raises(ValueError, match="no parameter lies under 'decoder'"):
        outline(load_recipe("tokenizer", ["trainable=[decoder]"]), ALONE)


def test_shares_that_shards_decide_otherwise_are_told(tmp_path: Path) -> None:
    write(tmp_path / "shards", rows(6), rows(3))
    manifest = json.loads((tmp_path / "shards" / "shards.json").read_text())
    manifest["origin"] = {"weights": {"subject": 0.5, "multi": 0.25, "text_to_image": 0.25}}
    (tmp_path / "shards" / "shards.json").write_text(json.dumps(manifest))

    def told(weights: str) -> list[str]:
        recipe = load_recipe(
            "mini-64/stage2", [f"data.shards={tmp_path / 'shards'}", "data.weights={}", f"data.weights={weights}"]
        )
        return [line for line in outline(recipe, ALONE) if line.startswith("data.weights: not heeded")]

    assert told("{subject: 2, multi: 1, text_to_image: 1}") == []
    assert told("{subject: 2, multi: 1, text_to_image: 0}") == []
    (line,) = told("{subject: 1, multi: 1, text_to_image: 1}")
    assert "made with multi 0.25, subject 0.5, text_to_image 0.25 instead of multi 0.333" in line


def test_random_weights_and_those_in_the_home_folder_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tokens").mkdir()
    for place in ("random", "~/tokens"):
        assert f"start: {place}" in outline(load_recipe("mini-64/stage0", [f"init.image_tokenizer={place}"]), ALONE)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "xl/x2i-icl", "schedule.samples=1280", "--dry-run", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "steps: 10," in told
    assert "data/X2I-in-context-learning/ade.jsonl (x2i, weight 1)" in told


def test_the_image_tokenizer_has_an_outline() -> None:
    assert any(line.startswith("steps: 6,000") for line in outline(load_recipe("tokenizer"), ALONE))
