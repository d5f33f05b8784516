"""Configuration from plain data: what is accepted, and what the errors say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor.config.load import differences, from_dict, load_yaml, merge, read_yaml, to_dict, with_overrides
from mentor.config.model import MentorConfig
from mentor.config.presets import PRESETS
from mentor.config.run import TrainConfig


@dataclass(frozen=True)
class Inner:
    lr: float = 1e-3
    kind: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True)
class Outer:
    name: str
    steps: int = 10
    flag: bool = False
    folder: str | None = None
    widths: tuple[int, ...] = (1, 2)
    weights: dict[str, float] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    optim: Inner = Inner()


def test_every_preset_survives_a_round_trip() -> None:
    for config in PRESETS.values():
        assert from_dict(MentorConfig, to_dict(config)) == config


@given(
    st.builds(
        Outer,
        name=st.text(),
        steps=st.integers(),
        flag=st.booleans(),
        folder=st.none() | st.text(),
        widths=st.lists(st.integers()).map(tuple),
        weights=st.dictionaries(st.text(), st.floats(allow_nan=False)),
        optim=st.builds(Inner, lr=st.floats(allow_nan=False), kind=st.sampled_from(["adamw", "muon"])),
    )
)
def test_round_trip(config: Outer) -> None:
    assert from_dict(Outer, to_dict(config)) == config


def test_lossless_conversions() -> None:
    config = from_dict(Outer, {"name": "a", "widths": [3], "optim": {"lr": "3e-4", "betas": [1, 0.5]}})
    assert config.widths == (3,)
    assert config.optim == Inner(lr=3e-4, betas=(1.0, 0.5))
    assert isinstance(config.optim.betas[0], float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a", "stepps": 3}, "unknown key 'stepps'; did you mean 'steps'?"),
        ({"name": "a", "optim": {"learning": 1}}, "unknown key 'optim.learning'; known: lr, kind, betas"),
        ({"name": "a", "optim": {"knid": "muon"}}, "unknown key 'optim.knid'; did you mean 'kind'?"),
        ({"name": "a", "betas": [1, 2]}, "unknown key 'betas'; did you mean 'optim.betas'?"),
        ({}, "missing key name"),
        ({"name": 3}, "name: expected text, got 3"),
        ({"name": "a", "steps": 1.5}, "steps: expected a whole number, got 1.5"),
        ({"name": "a", "steps": True}, "steps: expected a whole number, got True"),
        ({"name": "a", "flag": 1}, "flag: expected true or false, got 1"),
        ({"name": "a", "optim": {"lr": "fast"}}, "optim.lr: expected a number, got 'fast'"),
        ({"name": "a", "optim": {"lr": False}}, "optim.lr: expected a number, got False"),
        (
            {"name": "a", "optim": {"kind": "moun"}},
            "optim.kind: expected one of adamw, muon, got 'moun'; did you mean 'muon'?",
        ),
        ({"name": "a", "optim": {"betas": [1]}}, "optim.betas: expected a list of 2 values, got [1]"),
        ({"name": "a", "optim": {"betas": [1, "x"]}}, "optim.betas[1]: expected a number, got 'x'"),
        ({"name": "a", "optim": 3}, "optim: expected keys and values, got 3"),
        ({"name": "a", "widths": 3}, "widths: expected a list, got 3"),
        ({"name": "a", "weights": {"x": "y"}}, "weights.x: expected a number, got 'y'"),
        ({"name": "a", "folder": 3}, "folder: expected text, got 3"),
        ({"name": None}, "name: expected text, got None"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=".") as caught:
        from_dict(Outer, values)
    assert message in str(caught.value)


def test_overrides_reach_into_the_tree_and_are_read_as_yaml() -> None:
    values = with_overrides(
        {"name": "a", "optim": {"lr": 1.0, "kind": "muon"}},
        ["optim.lr=3e-4", "flag=true", "widths=[4, 5]", "folder=null", "free.a.b=1", "name=a=b"],
    )
    config = from_dict(Outer, values)
    assert config.optim == Inner(lr=3e-4, kind="muon")
    assert (config.flag, config.widths, config.folder, config.name) == (True, (4, 5), None, "a=b")
    assert config.free == {"a": {"b": 1}}


@pytest.mark.parametrize("override", ["lr", "=3", "name=[1", ""])
def test_broken_overrides(override: str) -> None:
    with pytest.raises(ValueError, match="override"):
        with_overrides({}, [override])


def test_base_files_are_merged_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text("name: base\nsteps: 3\noptim: {lr: 2, kind: muon}\n")
    (tmp_path / "sub" / "own.yaml").write_text("base: ../base.yaml\nname: own\noptim: {lr: 3}\n")
    config = load_yaml(tmp_path / "sub" / "own.yaml", Outer, ["steps=4"])
    assert config == Outer(name="own", steps=4, optim=Inner(lr=3.0, kind="muon"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- 1\n", "expected keys and values"),
        ("", "expected keys and values"),
        ("base: own.yaml\n", "circle"),
        ("base: absent.yaml\n", "cannot read"),
        ("\x00", "not valid YAML"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_yaml(tmp_path / "own.yaml", Outer)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(b"\xff\xfe\x9d")
    with pytest.raises(ValueError, match="cannot read"):
        load_yaml(tmp_path / "own.yaml", Outer)


def test_differences_name_the_keys() -> None:
    a, b = {"x": {"y": 1, "z": 2}, "w": 3}, {"x": {"y": 1, "z": 4}}
    assert differences(a, b) == ["w: 3 -> None", "x.z: 2 -> 4"]
    assert differences(a, a) == []


def test_an_empty_mapping_empties_what_a_recipe_lays_it_over(tmp_path: Path) -> None:
    """So a recipe can be rid of what its base names: ``optim.lr_scales={}``."""
    base = {"optim": {"lr": 1.0, "lr_scales": {"encoder": 0.1}}}
    emptied = {"optim": {"lr": 1.0, "lr_scales": {}}}
    assert with_overrides(base, ["optim.lr_scales={}"]) == emptied
    (tmp_path / "base.yaml").write_text("optim: {lr: 1.0, lr_scales: {encoder: 0.1}}")
    (tmp_path / "recipe.yaml").write_text("base: base.yaml\noptim: {lr_scales: {}}")
    assert read_yaml(tmp_path / "recipe.yaml") == emptied
    assert merge(base, {"optim": {"lr_scales": {}}}) == base


def test_merge_leaves_its_arguments_alone() -> None:
    base: dict[str, Any] = {"a": {"b": 1}}
    assert merge(base, {"a": {"c": 2}}) == {"a": {"b": 1, "c": 2}}
    assert base == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": {"steps": 0}}, "schedule.steps: expected 1 or more, got 0"),
        ({"schedule": {"warmup": -1}}, "schedule.warmup: expected 0 or more, got -1"),
        (
            {"schedule": {"kind": "released_cosine", "decay_from": 0.5}},
            "schedule.decay_from: released_cosine always decays from the end of the warm-up",
        ),
        ({"schedule": {"kind": "released"}}, "did you mean 'released_cosine'|did you mean 'released_linear'"),
        ({"optim": {"accumulate": 0}}, "optim.accumulate"),
        ({"data": {"batch_size": -1}}, "data.batch_size"),
        ({"ema": 1.5}, "ema: expected a share"),
        ({"mentor": {"condition_dropout": -0.1}}, "mentor.condition_dropout"),
        ({"data": {"weights": {"subject": -1}}}, "data.weights"),
        ({"data": {"weights": {"subject": float("nan")}}}, "data.weights"),
        ({"data": {"samples": 0}}, "data.samples: expected 1 or more, got 0"),
        ({"data": {"held_out": -1}}, "data.held_out: expected 0 or more, got -1"),
        ({"data": {"workers": -1}}, "data.workers: expected 0 or more"),
        ({"optim": {"lr": float("nan")}}, "optim.lr: expected 0 or more, got nan"),
        ({"optim": {"clip": float("inf")}}, "optim.clip: expected 0 or more, got inf"),
        ({"schedule": {"warmup": float("nan")}}, "schedule.warmup: expected 0 or more, got nan"),
        ({"logging": {"evaluate_every": -5}}, "logging.evaluate_every: expected 0 or more"),
        ({"checkpointing": {"every": -1}}, "checkpointing.every: expected 0 or more"),
        ({"mentor": {"evaluation_samples": -1}}, "mentor.evaluation_samples: expected 0 or more"),
    ],
)
def test_impossible_recipes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(TrainConfig, merge({"name": "a", "objective": "mentor"}, changes))


def test_model_overrides_are_checked() -> None:
    config = from_dict(
        TrainConfig,
        {"name": "a", "objective": "mentor", "model": {"preset": "mini-64", "overrides": {"decoder": {"widht": 3}}}},
    )
    with pytest.raises(ValueError, match=r"unknown key 'model\.overrides\.decoder\.widht'; did you mean 'width'"):
        config.model.resolve()
    with pytest.raises(ValueError, match="unknown preset 'huge'"):
        from_dict(TrainConfig, {"name": "a", "objective": "mentor", "model": {"preset": "huge"}}).model.resolve()
