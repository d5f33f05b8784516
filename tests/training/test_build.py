"""From a recipe to a finished run, for the objectives that no other test builds from one; and what a recipe lacks is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import mentor.data.corpus
from mentor.checkpoint.store import load_bundle, save_bundle
from mentor.config.load import from_dict, to_dict
from mentor.config.recipes import load_recipe
from mentor.config.run import TrainConfig
from mentor.data.corpus import Corpus
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from mentor.training.build import build
from mentor.training.start import fill_image_tokenizer
from mentor.training.trainer import Trainer
from tests.data.released_folder import write_pictures
from tests.generation.tiny_bundle import CONFIG, tiny_bundle
from tests.training.together import losses

SMALL = "model.overrides.image_tokenizer={widths: [16, 32], encoder_blocks: [1, 1], decoder_blocks: [1, 1]}"
TOKENIZER = [
    SMALL,
    "data.batch_size=4",
    "data.workers=0",
    "schedule.steps=2",
    "tokenizer.held_out=2",
    "logging.every=1",
]


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch, tiny_corpus: Corpus) -> None:
    monkeypatch.setattr(mentor.data.corpus.Corpus, "load", lambda folder=None: tiny_corpus)


@pytest.mark.usefixtures("corpus")
def test_the_image_tokenizer_s_recipe(tmp_path: Path) -> None:
    config = load_recipe("tokenizer", [*TOKENIZER, "logging.grid_every=2"])
    objective, feed = build(config)
    final = Trainer(config, objective, feed, device="cpu").run(tmp_path / "run")
    assert len(losses(tmp_path / "run")) == 2 and list((tmp_path / "run" / "grids").iterdir())
    assert 5 < losses(tmp_path / "run", "eval")[2]["psnr"] < 40
    trained = ImageTokenizer(config.model.resolve().image_tokenizer)
    fill_image_tokenizer(trained, str(final))
    pictures = torch.zeros(1, 3, 64, 64)
    assert trained.encode(pictures).shape == (1, 64)
    # Trained further, its codes start as if they had been used: 4 pictures of 64 tokens for 2,048 codes.
    objective, _ = build(load_recipe("tokenizer", [*TOKENIZER, f"init.image_tokenizer={final}"]))
    assert (objective.module.average.counts == 4 * 64 / 2048).all()
    state = objective.module.tokenizer.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.state_dict().items())


T5 = replace(CONFIG, language=replace(CONFIG.language, kind="t5", head_width=8))


@pytest.fixture
def alignment(tmp_path: Path) -> dict[str, Any]:
    """Stage 0 as the full size has it: LLaVA's records, a whole T5, a model with that T5's encoder."""
    torch.manual_seed(0)
    mentor, bundle = Mentor(T5).eval(), tiny_bundle()
    save_bundle(tmp_path / "start", mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    answerer = T5Config(
        vocab_size=15, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu",
        pad_token_id=0, decoder_start_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    T5ForConditionalGeneration(answerer).save_pretrained(tmp_path / "t5")
    write_pictures(tmp_path / "data" / "images")
    asked = [{"from": "human", "value": "a hat?\n<image>"}, {"from": "gpt", "value": "a red fox"}]
    records = [{"image": ("fox.png", "wide.png")[number % 2], "conversations": asked} for number in range(30)]
    (tmp_path / "data" / "chat.json").write_text(json.dumps(records))
    return {
        "name": "alignment",
        "objective": "caption",
        "trainable": ["encoder.connector"],
        "model": {"overrides": to_dict(T5)},
        "init": {"bundle": str(tmp_path / "start"), "answerer": str(tmp_path / "t5")},
        "data": {
            "precomputed": False,
            "folder": str(tmp_path / "data"),
            "sources": [{"kind": "llava", "path": "chat.json", "root": "images"}],
            "batch_size": 4,
            "held_out": 3,
            "rejects": str(tmp_path / "rejects.jsonl"),
        },
        "optim": {"lr": 1e-2},
        "schedule": {"steps": 3},
        "logging": {"every": 1, "evaluate_every": 3, "trackers": []},
    }


def test_the_alignment_of_a_connector(tmp_path: Path, alignment: dict[str, Any]) -> None:
    config = from_dict(TrainConfig, alignment)
    objective, feed = build(config)
    final = Trainer(config, objective, feed, device="cpu").run(tmp_path / "run")
    assert set(losses(tmp_path / "run", "eval")[3]) == {"nll"}
    before, after = (load_bundle(folder).mentor.state_dict() for folder in (tmp_path / "start", final))
    moved = {name for name in before if not torch.allclose(before[name], after[name], atol=2e-3, rtol=2e-3)}
    assert moved and all(name.startswith("encoder.connector.") for name in moved)


@pytest.mark.usefixtures("corpus")
def test_what_a_recipe_lacks_is_named(tmp_path: Path, alignment: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"precision: .* needs fp32 or bf16, not bf16_pure"):
        build(load_recipe("tokenizer", ["precision=bf16_pure"]))
    for changes in (
        {"init": {"bundle": str(tmp_path / "start")}},
        {"data": alignment["data"] | {"precomputed": True}},
    ):
        with pytest.raises(ValueError, match=r"needs init.answerer, .* and data.precomputed=false"):
            build(from_dict(TrainConfig, alignment | changes))
    without = {"objective": "mentor", "data": {}, "init": {"bundle": str(tmp_path / "start")}}
    with pytest.raises(ValueError, match=r"data.shards is needed: .* `mentor precompute`"):
        build(from_dict(TrainConfig, alignment | without))
