"""The recipe of a fine-tune: the document's values with what a person named filled in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mentor.checkpoint.store import save_bundle
from mentor.config.load import differences, to_dict
from mentor.config.presets import PRESETS
from mentor.config.recipes import load_recipe
from mentor.training.finetune import Wishes, finetune_recipe
from tests.generation.tiny_bundle import CONFIG, tiny_bundle


def test_the_document_s_values_and_what_was_named() -> None:
    wishes = Wishes(Path("photos"), "my mug", captions=Path("words.txt"), steps=7, rank=4, dora=True, seed=3)
    changed = differences(to_dict(load_recipe("finetune")), to_dict(finetune_recipe(wishes)))
    keys = [line.partition(":")[0] for line in changed]
    assert keys == [
        "data.folder", "data.sources", "lora.alpha", "lora.dora", "lora.rank", "schedule.steps", "seed",
    ]  # fmt: skip
    config = finetune_recipe(wishes)
    assert config.lora is not None and (config.lora.rank, config.lora.alpha) == (4, 8.0)
    own, corpus = config.data.all_sources
    assert own.path == "photos" and own.options["captions"] == "words.txt"
    assert (own.weight, corpus.weight) == (0.5, 0.5)
    assert finetune_recipe(Wishes(Path("photos"), "x")).schedule == load_recipe("finetune").schedule


def test_without_a_corpus_only_the_pictures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MENTOR_CORPUS", str(tmp_path / "absent"))
    assert [source.kind for source in finetune_recipe(Wishes(Path("photos"), "x")).data.sources] == ["pictures"]


def test_any_saved_model(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    folder = save_bundle(tmp_path / "tiny", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    config = finetune_recipe(Wishes(Path("photos"), "x", model=str(folder)))
    assert config.model.resolve() == CONFIG and config.init.bundle == str(folder)
    assert finetune_recipe(Wishes(Path("photos"), "x")).model.resolve() == load_recipe("finetune").model.resolve()


def test_single_values_of_the_recipe() -> None:
    wishes = Wishes(Path("photos"), "x", steps=7, overrides=["optim.lr=3e-4", "lora.dropout=0.1"])
    config = finetune_recipe(wishes)
    assert config.lora is not None
    assert (config.optim.lr, config.lora.dropout, config.schedule.steps) == (3e-4, 0.1, 7)


def test_a_large_model_s_activations_do_not_stay(tmp_path: Path) -> None:
    """Of LlamaGen-XL's size 16 samples would keep 47 GB of them."""
    (tmp_path / "config.json").write_text(json.dumps(to_dict(PRESETS["xl-fixed"])))

    def chosen(*overrides: str, model: str = str(tmp_path)) -> tuple[bool, int, int]:
        config = finetune_recipe(Wishes(Path("photos"), "x", model=model, overrides=overrides))
        return config.engine.activation_checkpointing, config.data.batch_size, config.optim.accumulate

    assert chosen() == (True, 4, 4)
    assert chosen("data.batch_size=8") == (True, 8, 1)
    assert chosen("engine={activation_checkpointing: false}", "optim.accumulate=2") == (False, 16, 2)
    assert chosen("schedule.samples=640") == (True, 4, 4)
    assert chosen(model="mini") == (False, 16, 1)


@pytest.mark.parametrize(
    "override",
    ["schedule.steps=3", "seed=1", "lora.rank=2", "model.preset=mini-64", "data.sources=[]", "lora={rank: 3}"],
)
def test_what_a_flag_says_is_no_single_value(override: str) -> None:
    with pytest.raises(ValueError, match="is said by a flag here"):
        finetune_recipe(Wishes(Path("photos"), "x", overrides=[override]))


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="unknown model 'maxi'; known: mini"):
        finetune_recipe(Wishes(Path("photos"), "x", model="maxi"))
    with pytest.raises(ValueError, match="lora.rank: expected 1 or more, got 0"):
        finetune_recipe(Wishes(Path("photos"), "x", rank=0))
    with pytest.raises(ValueError, match="schedule.steps: expected 1 or more, got 0"):
        finetune_recipe(Wishes(Path("photos"), "x", steps=0))
