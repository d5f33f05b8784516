"""``mentor ablate``: a tiny study from start to table, gone on with after a stop; mistakes in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from mentor.config.load import read_yaml
from mentor.config.recipes import find_recipe
from mentor.data.corpus import find_pack

if TYPE_CHECKING:
    from tests.cli.conftest import Outcome

    Run = Callable[..., Outcome]


@pytest.fixture
def three_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two styles of the committed pack and its backgrounds: the whole pack is read, and described, many times over."""
    whole, part = find_pack(), tmp_path / "pack"
    part.mkdir()
    manifest = json.loads((whole / "manifest.json").read_text())
    kept = {f"permissive-{name}-00.tar.gz" for name in ("fluent-emoji", "fluent-emoji-flat", "backgrounds")}
    manifest["shards"] = [shard for shard in manifest["shards"] if shard["file"] in kept]
    (part / "manifest.json").write_text(json.dumps(manifest))
    for name in kept:
        (part / name).symlink_to((whole / name).resolve())
    monkeypatch.setenv("MENTOR_CORPUS", str(part))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two rows after the recipe ``debug``, each of one stage of two steps."""
    monkeypatch.chdir(tmp_path)
    values = read_yaml(find_recipe("debug"))
    values["init"], values["data"]["shards"] = {"bundle": "given"}, "shards/later"
    Path("later.yaml").write_text(yaml.safe_dump(values | {"name": "later"}))
    values["data"]["weights"] = values["data"]["weights"] | {"subject": 0, "multi": 0}
    Path("without.yaml").write_text(yaml.safe_dump(values | {"name": "without"}))
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "start": {"recipe": "debug", "overrides": ["schedule.steps=2"]},
                "overrides": ["data.held_out=24", "mentor.evaluation_samples=24", "logging.grid_every=0"],
                "steps": {"later": 2},
                "rows": {"full": {"later": "later.yaml"}, "no-subject": {"later": "without.yaml"}},
                "paper": {"full": "MENTOR, everything", "no-subject": "MENTOR without subject-driven images"},
                "prompts": 20,
                "seeds": [0],
            }
        )
    )
    return path


def test_the_trainings_are_listed_without_any(run: Run, tmp_path: Path) -> None:
    outcome = run("ablate", "--out", tmp_path / "out", "--dry-run", "--rows", "no-recovery,query-former")
    assert outcome.status == 0
    assert "mini-64/ablations/no-recovery, 150 steps from" in outcome.out
    assert "no-stage1" not in outcome.out
    assert not (tmp_path / "out").exists()


@pytest.mark.integration
@pytest.mark.usefixtures("three_shards")
def test_a_study_from_start_to_table(run: Run, study: Path) -> None:
    command = ("ablate", "--study", study, "--out", "out", "--workers", "0", "--device", "cpu")
    outcome = run(*command)
    assert outcome.status == 0, outcome.err
    report = json.loads(Path("out/ablations.json").read_text())
    assert set(report["rows"]) == {"full", "no-subject"}
    assert set(report["rows"]["no-subject"]["direction"]) == {"cp", "pf", "cp_pf"}
    assert report["runs"]["no-subject"] == [{"recipe": "without", "steps": 2, "batch": 8, "start": "out/start/final"}]
    # What is measured is the same for both, whatever was left out of training.
    assert all("subject, right image" in losses for losses in report["held_out_losses"].values())
    told = (Path("out") / "runs" / "no-subject" / "later" / "metrics.jsonl").read_text()
    assert "object_nll/subject/right" in told
    table = Path("out/ablations.md").read_text()
    assert table in outcome.out and "| no-subject |" in table
    made = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.safetensors")}
    assert run(*command).status == 0
    assert {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.safetensors")} == made
    assert Path("out/ablations.md").read_text() == table
    told = run(*command, "--dry-run")
    assert told.out.count("(done)") == len(told.out.splitlines()) == 3
    other = run(*command, "--steps", "later=3")
    assert other.status == 2
    assert "holds a run of another recipe (schedule.steps: 2 -> 3)" in other.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "no-recover"], "unknown row 'no-recover'; known: full"),
        (["--steps", "stage9=3"], "--steps: expected STAGE=N with a stage among stage1, stage2, got 'stage9=3'"),
        (["--steps", "stage1=0"], "steps: expected 1 or more for every stage"),
        (["--study", "absent.yaml"], "cannot read"),
        (["--start", "absent"], "absent"),
        (["--prompts", "0"], "expected 1 prompt and 1 seed or more"),
        (["optim.lrr=1"], "unknown key 'optim.lrr'; did you mean 'lr'"),
    ],
)
def test_mistakes_are_one_line(run: Run, tmp_path: Path, words: list[str], message: str) -> None:
    overrides = [word for word in words if "=" in word and not word.startswith("stage")]
    flags = [word for word in words if word not in overrides]
    outcome = run("ablate", *overrides, "--out", tmp_path / "out", *flags)
    assert outcome.status == 2
    assert message in outcome.err and len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
