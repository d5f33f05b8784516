"""A dry run: numbers of the real model, no weights or data needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mentor.cli.main import main
from mentor.config.recipes import load_recipe
from mentor.training.distributed import Processes
from mentor.training.outline import outline

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


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "xl/x2i-icl", "schedule.samples=1280", "--dry-run", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "steps: 10," in told
    assert "data/X2I-in-context-learning/ade.jsonl (x2i, weight 1)" in told


def test_the_image_tokenizer_has_an_outline() -> None:
    assert any(line.startswith("steps: 6,000") for line in outline(load_recipe("tokenizer"), ALONE))
