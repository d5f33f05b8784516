"""Runs that differ in their seed: means and deviations, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mentor.cli.main import main
from mentor.evaluation.results import SavedRun
from mentor.evaluation.seeds import over_seeds, seeds_table


def saved(folder: Path, seed: int, numbers: dict[str, float], *, samples: int = 4, **changes: Any) -> SavedRun:
    """A finished run of two prompts with ``samples`` pictures each, written to its folder."""
    items = [
        {"key": f"{prompt}/{sample}", "item": f"digest-{prompt}-{sample}", "numbers": {}}
        for prompt in range(2)
        for sample in range(samples)
    ]
    run = {
        "benchmark": "dreambench",
        "preset": "kosmos",
        "backbones": {"dino": "one"},
        "settings": {"cfg_scale": 1.5},
        "items": len(items),
        "name": "mini",
        "fingerprint": "abc",
        "seed": seed,
        "seeds": [seed, seed + samples - 1],
        "columns": {"dino": "DINO", "clip_i": "CLIP-I"},
        "summary": numbers,
        **changes,
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in items))
    return SavedRun(folder, run, items)


def test_mean_and_deviation_of_what_all_runs_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        saved(tmp_path / "a", 0, {"dino": 0.1, "clip_i": 0.5}),
        saved(tmp_path / "b", 10000, {"dino": 0.2, "clip_i": 0.5}),
        saved(tmp_path / "c", 20000, {"dino": 0.6}),
    ]
    (dino,) = over_seeds(runs)
    assert dino.name == "dino" and dino.mean == pytest.approx(0.3)
    assert dino.deviation == pytest.approx(((0.2**2 + 0.1**2 + 0.3**2) / 2) ** 0.5)
    assert seeds_table([dino], runs)[1] == ["DINO", "0.300 ± 0.265", "0.100", "0.200", "0.600"]
    assert main(["evaluate", "seeds", *(str(run.folder) for run in runs)]) == 0
    assert "0.300 ± 0.265" in capsys.readouterr().out


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_runs_that_share_pictures_are_refused(tmp_path: Path, seed: int) -> None:
    one, other = saved(tmp_path / "a", 0, {"dino": 0.1}), saved(tmp_path / "b", seed, {"dino": 0.2})
    with pytest.raises(ValueError, match="further apart"):
        over_seeds([one, other])


def test_seeds_next_to_each_other_serve_where_every_item_has_its_own(tmp_path: Path) -> None:
    one = saved(tmp_path / "a", 0, {"dino": 0.1}, seeds=[0, 7])
    other = saved(tmp_path / "b", 1, {"dino": 0.2}, seeds=[1, 8])
    assert over_seeds([one, other])[0].mean == pytest.approx(0.15)
    # Weights of trainings with different seeds, drawn with the same.
    retrained = saved(tmp_path / "c", 0, {"dino": 0.3}, fingerprint="def")
    assert over_seeds([one, retrained])[0].mean == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"preset": "original"}, "preset"),
        ({"backbones": {"dino": "stand-in"}}, "backbones"),
        ({"settings": {"cfg_scale": 3.0}}, "settings"),
        ({"benchmark": "geneval"}, "benchmark"),
        ({"samples": 3}, "items"),
    ],
)
def test_runs_that_differ_in_more_are_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    one, other = saved(tmp_path / "a", 0, {"dino": 0.1}), saved(tmp_path / "b", 10000, {"dino": 0.2}, **changes)
    with pytest.raises(ValueError, match=f"more than their seed: {told}"):
        over_seeds([one, other])
    with pytest.raises(ValueError, match="two runs or more"):
        over_seeds([one])
