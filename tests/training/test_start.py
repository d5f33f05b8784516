"""Where weights start, and shards that were made with other networks."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from mentor.checkpoint.store import save_bundle
from mentor.config.load import to_dict
from mentor.config.recipes import load_recipe
from mentor.config.run import TrainConfig
from mentor.training.start import (
    check_origin,
    fill_image_tokenizer,
    fingerprint,
    not_heeded,
    origin_of,
    starting_bundle,
)
from tests.generation.tiny_bundle import CONFIG, tiny_bundle
from tests.training.tiny import tiny_config


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    bundle = tiny_bundle()
    return save_bundle(tmp_path / "saved", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)


def _config(**changes: object) -> TrainConfig:
    return tiny_config(**{"model": {"preset": "mini-64", "overrides": to_dict(CONFIG)}} | changes)


def test_a_starting_point_is_needed() -> None:
    with pytest.raises(ValueError, match=r"init\.image_tokenizer is needed"):
        starting_bundle(tiny_config())
    with pytest.raises(ValueError, match="not both"):
        starting_bundle(tiny_config(init={"bundle": "a", "image_tokenizer": "b"}))


@pytest.mark.parametrize(
    ("recipe", "key", "folder"),
    [
        ("mini-64/stage0", "image_tokenizer", "runs/tokenizer/final"),
        ("mini-64/stage1", "bundle", "runs/mini-64/stage0/final"),
    ],
)
def test_an_earlier_run_that_is_not_there_is_to_be_made_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, key: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = f"init.{key}: {folder} is not there; train what the recipe starts from first (`mentor recipes {recipe}`"
    with pytest.raises(ValueError, match=re.escape(told)):
        starting_bundle(load_recipe(recipe))


def test_a_start_in_the_home_folder_is_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(saved.parent.parent))
    named = f"~/{saved.parent.name}/{saved.name}"
    assert starting_bundle(_config(init={"bundle": named})).config == CONFIG
    theirs = tiny_bundle().image_tokenizer
    with torch.no_grad():
        for each in theirs.parameters():
            each.zero_()
    fill_image_tokenizer(theirs, named)
    assert fingerprint(theirs) == fingerprint(tiny_bundle().image_tokenizer)
    with pytest.raises(ValueError, match="unknown model 'runs'"):
        fill_image_tokenizer(theirs, "runs")


def test_origins_are_compared(saved: Path) -> None:
    bundle, config = tiny_bundle(), _config(data={"shards": "here"})
    origin = origin_of(config, bundle)
    check_origin(config, origin, bundle)
    check_origin(_config(seed=5, data={"weights": {"subject": 1.0}}), origin, bundle)  # other samples, same networks
    for key in ("vision", "image_tokenizer", "text_tokenizer", "image_size", "context"):
        with pytest.raises(ValueError, match=f"shards in here do not fit this model .{key}"):
            check_origin(config, origin | {key: "other"}, bundle)


def test_shards_remember_how_references_were_fitted_and_which_corpus_they_show(tmp_path: Path) -> None:
    def corpus(name: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps({"format": 1, "shards": [], "name": name}))
        return str(tmp_path / name)

    one, two = ({"shards": "here", "weights": {"subject": 1.0}, "corpus": corpus(name)} for name in ("one", "two"))
    bundle, config = tiny_bundle(), _config(data=one)
    origin = origin_of(config, bundle)
    assert not_heeded(config, origin) == []
    assert origin_of(_config(data=two), bundle)["corpus"] != origin["corpus"]
    check_origin(_config(data=two), origin, bundle)
    assert not_heeded(_config(data=two), origin) == ["data.corpus: not heeded, the shards were made from another one"]
    assert not_heeded(_config(data=one | {"corpus": str(tmp_path / "gone")}), origin) == []
    packs = (
        {"kind": "corpus", "path": str(tmp_path / name), "options": {"tasks": {"subject": 1}}}
        for name in ("one", "two")
    )
    named, other = ({"shards": "here", "sources": [pack]} for pack in packs)
    assert origin_of(_config(data=named), bundle)["corpus"] == origin["corpus"]
    assert origin_of(_config(data=other), bundle)["corpus"] != origin["corpus"]
    recoloured = _config(data=one | {"defaults": {"corpus": {"recolour": 0.5}}})
    assert not_heeded(recoloured, origin_of(recoloured, bundle)) == []
    for asked, made in ((recoloured, config), (config, recoloured)):
        told = ["data.defaults: not heeded, the shards were made with others"]
        assert not_heeded(asked, origin_of(made, bundle)) == told
        check_origin(asked, origin_of(made, bundle), bundle)
    without = _config(data=one | {"weights": {"subject": 1.0, "recover": 0.0}, "defaults": recoloured.data.defaults})
    assert not_heeded(without, origin_of(recoloured, bundle)) == []
    vision = dataclasses.replace(bundle.config.vision, fit="crop")
    bundle.config = dataclasses.replace(bundle.config, vision=vision)
    with pytest.raises(ValueError, match="do not fit this model .vision"):
        check_origin(config, origin, bundle)


def test_fingerprints_follow_the_weights_as_stored() -> None:
    module = tiny_bundle().image_tokenizer
    before = fingerprint(module)
    with torch.no_grad():
        module.quant_conv.weight += 1e-9  # less than float16 holds
        assert fingerprint(module) == before
        module.quant_conv.weight += 1e-2
    assert fingerprint(module) != before
