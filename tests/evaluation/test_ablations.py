"""Ablation rows: known pictures give known differences and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mentor.data.corpus import Corpus
from mentor.data.held_out import evaluation_prompts
from mentor.evaluation.ablations import (
    OPPOSITE,
    RESOLVED,
    WITHIN_NOISE,
    Scores,
    ablation_table,
    score_rows,
    summarise_rows,
)
from mentor.evaluation.pictures import PictureStore, check_folder
from mentor.models.perceptual import STLPIPS
from tests.evaluation.conftest import FakePainter

PAPER = {"full": "MENTOR, everything", "worse": "MENTOR without stage 1", "same": "MENTOR without image recovery"}


def scores(cp: float, pf: float, spread: float = 0.0) -> dict[int, dict[str, list[float]]]:
    return {
        seed: {"cp": [cp + spread * (-1) ** i for i in range(20)], "pf": [pf + 0.01 * seed] * 20} for seed in (0, 1, 2)
    }


def found(**rows: dict[int, dict[str, list[float]]]) -> dict[str, Any]:
    return summarise_rows(rows, "full", {row: label for row, label in PAPER.items() if row in rows})


def test_means_over_seeds_and_the_paper_s_numbers() -> None:
    row = found(full=scores(0.4, 0.8))["full"]
    assert row["cp"] == pytest.approx(0.4) and row["pf"] == pytest.approx(0.81)
    assert row["cp_pf"] == pytest.approx(0.4 * 0.81)
    assert row["std"] == pytest.approx({"cp": 0, "pf": 0.01, "cp_pf": 0.004})
    assert row["paper"] == {"cp": 0.555, "pf": 0.839, "cp_pf": 0.466}
    assert "difference" not in row


def test_directions() -> None:
    # Without stage 1 the paper loses both; without recovery it wins CP and loses PF.
    rows = found(full=scores(0.4, 0.8), worse=scores(0.3, 0.9), same=scores(0.4, 0.8, spread=0.2))
    assert rows["worse"]["difference"] == pytest.approx({"cp": -0.1, "pf": 0.1, "cp_pf": 0.3 * 0.91 - 0.4 * 0.81})
    assert rows["worse"]["direction"] == {"cp": RESOLVED, "pf": OPPOSITE, "cp_pf": RESOLVED}
    assert rows["same"]["direction"]["cp"] == WITHIN_NOISE
    low, high = rows["same"]["interval"]["cp"]
    assert low < 0 < high


def test_a_label_that_the_paper_does_not_have() -> None:
    with pytest.raises(ValueError, match="the published table has no row 'MENTOR with wings'"):
        summarise_rows({"full": scores(0.4, 0.8)}, "full", {"full": "MENTOR with wings"})


def test_the_table_says_it_all() -> None:
    rows = found(full=scores(0.4, 0.8), worse=scores(0.3, 0.9))
    text = "\n".join(ablation_table(rows, {"full": {"right": 5.0}, "worse": {"right": 5.5, "wrong": 6.0}}))
    assert "| full | 0.400 ± 0.000 | 0.810 ± 0.010 | 0.324 ± 0.004 | 0.555 | 0.839 | 0.466 |" in text
    assert "| worse | -0.100 [-0.100, -0.100] | +0.100 [+0.100, +0.100] |" in text
    assert "-0.376 / -0.166 / -0.346 | agrees / disagrees / agrees |" in text
    assert "| full | 5.00 |  |" in text and "| worse | 5.50 | 6.00 |" in text


@pytest.fixture(scope="module")
def judged(small_corpus: Corpus, trunk: STLPIPS, tmp_path_factory: pytest.TempPathFactory) -> tuple[Scores, Path]:
    """One row draws the true scenes, the other nothing."""
    samples = {s: evaluation_prompts(small_corpus.split("test"), 20, s, size=64) for s in (0, 1)}
    folder = tmp_path_factory.mktemp("ablations")
    check_folder(folder)
    perfect = FakePainter(lambda prompt, seed: samples[seed // 20][seed % 20].target)
    blank = FakePainter(lambda prompt, seed: Image.new("RGB", (64, 64)), fingerprint="two")
    rows = {"full": lambda: perfect, "worse": lambda: blank}
    options: dict[str, Any] = {"prompts": 20, "seeds": (0, 1), "size": 64}
    found = score_rows(rows, small_corpus, PictureStore(folder), trunk, **options)
    again = score_rows(rows, small_corpus, PictureStore(folder), trunk, **options)
    assert again == found and perfect.calls == 40, "pictures that are there are not drawn again"
    return found, folder


def test_true_pictures_win(judged: tuple[Scores, Path]) -> None:
    rows = summarise_rows(judged[0], "full", {row: PAPER[row] for row in ("full", "worse")})
    assert rows["full"]["cp_pf"] > 0.75
    assert rows["worse"]["cp"] == 0
    assert rows["worse"]["interval"]["cp_pf"][1] < 0
    assert rows["worse"]["direction"]["cp_pf"] == RESOLVED


def test_rows_of_another_size_are_refused(small_corpus: Corpus, trunk: STLPIPS, tmp_path: Path) -> None:
    large = FakePainter(lambda prompt, seed: Image.new("RGB", (128, 128)), size=128)
    with pytest.raises(ValueError, match="row full draws pictures of 128 px, the study is scored at 64"):
        score_rows(
            {"full": lambda: large}, small_corpus, PictureStore(tmp_path), trunk, prompts=20, seeds=(0,), size=64
        )
