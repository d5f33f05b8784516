"""Every shipped recipe loads, is valid, builds its real model and takes a step of training's first look."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from mentor.checkpoint.store import new_bundle, save_bundle
from mentor.config.presets import PRESETS
from mentor.config.recipes import find_recipe, load_recipe, recipe_header, recipe_names
from mentor.config.run import TrainConfig
from mentor.data.mixture import Mixture
from mentor.data.precompute import Encoders, precompute
from mentor.data.processor import Processor
from mentor.training.build import build
from mentor.training.distributed import Processes
from mentor.training.outline import outline
from mentor.training.start import origin_of, starting_bundle
from mentor.training.trainer import Trainer

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus

_TRAINED = {name: load_recipe(name) for name in recipe_names() if not name.startswith("xl/")}
SMALL = [name for name, one in _TRAINED.items() if one.objective == "mentor" and one.data.precomputed]


def test_the_paper_s_stages_are_there_at_both_sizes() -> None:
    stages = {f"mini-{size}/stage{stage}" for size in ("64", "wide") for stage in (0, 1, 2)}
    assert stages | {"tokenizer", "debug"} <= set(recipe_names())
    full, small = (
        {name.removeprefix(size) for name in recipe_names() if name.startswith(size)} for size in ("xl", "mini-64")
    )
    assert full == small


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_told_from_the_meta_device(name: str) -> None:
    config = load_recipe(name)
    told = outline(config, Processes(0, 1, torch.device("cpu")))
    assert told[0].startswith(f"recipe: {name} (")
    assert sum(int(line.split(": ")[1].split(" ")[0].replace(",", "")) for line in told if " trained, " in line) > 1000


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_a_document(name: str) -> None:
    header = recipe_header(name)
    for part in ("Needs:", "Launch:", "Time:", "Expect:"):
        assert part in header
    assert f"mentor train {name} " in header
    config = load_recipe(name)
    assert config.name == name
    # An ablation reads the shards of the recipe that it is a part of.
    assert config.data.shards is None or config.data.shards.removeprefix("shards/") in recipe_names()
    config.model.resolve()


def test_unknown_recipes() -> None:
    with pytest.raises(ValueError, match=r"unknown recipe 'stage1'; known: .*mini-64/stage1"):
        find_recipe("stage1")
    with pytest.raises(ValueError, match="cannot read"):
        load_recipe("absent.yaml")


def test_both_sizes_differ_in_configuration_only() -> None:
    for stage in ("stage0", "stage1", "stage2"):
        small, large = load_recipe(f"mini-64/{stage}"), load_recipe(f"mini-wide/{stage}")
        assert small.trainable == large.trainable
        assert small.data.weights == large.data.weights
        assert (small.model.resolve().image_size, large.model.resolve().image_size) == (64, 128)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Untrained models in the place of the stage before, by preset."""
    folder = tmp_path_factory.mktemp("runs")

    @cache
    def saved(preset: str) -> Path:
        bundle = new_bundle(PRESETS[preset])
        query_tokenizer = bundle.text_tokenizer if preset.endswith("query-former") else None
        return save_bundle(folder / preset, *_parts(bundle), query_tokenizer=query_tokenizer)

    return saved


def _small(name: str, tmp_path: Path, previous: Path) -> TrainConfig:
    start = "init.bundle" if load_recipe(name).init.bundle else "init.image_tokenizer"
    overrides = [f"{start}={previous}", f"data.shards={tmp_path / 'shards'}", "data.batch_size=2", "data.samples=4"]
    return load_recipe(name, [*overrides, "data.held_out=3", "schedule.steps=40"])


@pytest.mark.integration
@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_builds_its_model(
    name: str, tmp_path: Path, untrained: Callable[[str], Path], tiny_corpus: Corpus
) -> None:
    preset = load_recipe(name).model.preset
    preset = "mini-64" if load_recipe(name).init.fresh or preset not in PRESETS else preset
    previous = untrained(preset)
    config = _small(name, tmp_path, previous)
    if name == "debug":
        previous = save_bundle(tmp_path / "own", *_parts(new_bundle(config.model.resolve())))
        config = _small(name, tmp_path, previous)
    bundle = starting_bundle(config)
    encoders = Encoders(
        bundle.image_tokenizer.encode,
        bundle.mentor.encoder.vision,
        Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer),
    )
    mixture = Mixture(tiny_corpus, config.data.weights, "train", bundle.config.image_size, 0)
    counts = {"train": config.data.samples, "held_out": config.data.held_out}
    precompute(tmp_path / "shards", dict.fromkeys(counts, mixture), counts, encoders, origin_of(config, bundle))
    objective, feed = build(config)
    assert feed.packing == objective.packing == config.data.packing
    trainer = Trainer(config, objective, feed, device="cpu")
    lines = "\n".join(trainer.describe())
    assert "warm-up steps: 2" in lines
    final = [f"{rate * config.schedule.floor:.3g}" for rate in (config.optim.lr, config.optim.muon_lr)]
    assert f"final learning rate: {final[0]} / {final[1]} (muon)" in lines
    encoder_trained = any(part.startswith("encoder") for part in config.trainable)
    assert ("encoder: 0 trained" in lines) == (not encoder_trained)
    assert not any(name.startswith("encoder.vision") for name in trainer.trainable)
    loss = float(trainer.stepper.update([feed.batch(0)], 0)["loss"])
    # The logarithm of the number of codes and half the variance of the first logits, over 128 tokens or more.
    assert loss == pytest.approx(math.log(bundle.config.decoder.vocab_size) + 0.045, abs=0.2)


def _parts(bundle: object) -> tuple[object, object, object]:
    return bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer  # type: ignore[attr-defined]
