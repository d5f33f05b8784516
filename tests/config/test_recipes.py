"""How long a run is, in steps or in samples: what is said last counts, and a printed copy keeps the way of saying it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mentor.cli.main import main
from mentor.config.recipes import load_recipe


def _copy(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A recipe as ``mentor recipes`` prints it, in a file."""
    assert main(["recipes", name]) == 0
    path = folder / "copy.yaml"
    path.write_text(capsys.readouterr().out)
    return str(path)


@pytest.mark.parametrize("name", ["xl/x2i-subject", "xl/stage1", "finetune"])
def test_samples_that_are_typed_count_whatever_the_recipe_says(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = load_recipe(name).data.batch_size
    for recipe in (name, _copy(name, tmp_path, capsys)):
        assert load_recipe(recipe, ["schedule.samples=1000000"]).schedule.steps == -(-1_000_000 // batch)
        assert load_recipe(recipe, ["schedule={samples: 640}"]).schedule.steps == 640 // batch
        typed = load_recipe(recipe, ["schedule.steps=7"]).schedule
        assert (typed.steps, typed.samples) == (7, None)


def test_a_printed_copy_follows_batch_and_switches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = _copy("xl/stage1", tmp_path, capsys)
    assert "steps" not in yaml.safe_load(Path(copy).read_text())["schedule"]
    for override, batch in (
        ("data.batch_size=64", 64),
        ("optim.accumulate=2", 256),
        ("switches.batch=as_released", 384),
    ):
        for recipe in ("xl/stage1", copy):
            assert load_recipe(recipe, [override]).schedule.steps == -(-2_480_000 // batch)


def test_the_base_may_be_a_recipe_of_the_package(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("base: mini-64/stage2\nname: mine\n")
    mine, theirs = load_recipe(str(own)), load_recipe("mini-64/stage2")
    assert mine.name == "mine" and mine.data == theirs.data and mine.init == theirs.init
    own.write_text("base: mini-64/stage9\nname: mine\n")
    with pytest.raises(ValueError, match="unknown recipe 'mini-64/stage9'; known: debug"):
        load_recipe(str(own))


def test_a_key_without_its_section_is_pointed_to_it() -> None:
    with pytest.raises(ValueError, match=r"'every'; did you mean 'logging\.every' or 'checkpointing\.every'\?"):
        load_recipe("debug", ["every=3"])


@pytest.mark.parametrize(("base", "own", "steps"), [("steps: 9", "samples: 640", 10), ("samples: 640", "steps: 9", 9)])
def test_a_recipe_s_own_length_displaces_its_base_s(tmp_path: Path, base: str, own: str, steps: int) -> None:
    (tmp_path / "base.yaml").write_text(f"name: a\nobjective: mentor\nschedule: {{{base}, kind: linear}}\n")
    (tmp_path / "own.yaml").write_text(f"base: base.yaml\nschedule: {{{own}}}\n")
    schedule = load_recipe(str(tmp_path / "own.yaml")).schedule
    assert (schedule.steps, schedule.kind) == (steps, "linear")


def test_two_lengths_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"schedule.steps and schedule.samples: both say how long .* give one"):
        load_recipe("xl/stage1", ["schedule.samples=1280", "schedule.steps=3"])
    path = tmp_path / "both.yaml"
    path.write_text("name: a\nobjective: mentor\nschedule: {steps: 3, samples: 1280}\n")
    with pytest.raises(ValueError, match=r"as samples or as steps, not both \(got 1280 and 3\)"):
        load_recipe(str(path))
