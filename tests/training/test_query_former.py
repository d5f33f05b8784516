"""Training with a Query-Former from shards: what to look for is stored, batched and learned from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mentor.checkpoint.store import load_bundle
from mentor.config.sections import MentorObjectiveConfig
from mentor.data.corpus import Corpus
from mentor.data.mixture import Mixture
from mentor.data.precompute import Encoders, precompute
from mentor.data.processor import Processor
from mentor.data.shards import PrecomputedDataset
from mentor.data.tasks import TASKS
from mentor.training.conditions import under
from mentor.training.feed import MentorFeed, collate
from mentor.training.objective import MentorObjective
from mentor.training.start import check_origin, origin_of
from mentor.training.trainer import Trainer
from tests.generation.query_former_bundle import query_former_bundle
from tests.generation.tiny_bundle import tiny_bundle
from tests.training.tiny import tiny_config

COUNTS = {"train": 12, "held_out": 6}


def processor() -> Processor:
    bundle = query_former_bundle(context=96)
    return Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer)


@pytest.fixture
def shards(tmp_path: Path, tiny_corpus: Corpus) -> Path:
    bundle = query_former_bundle(context=96)
    encoders = Encoders(bundle.image_tokenizer.encode, bundle.mentor.encoder.encode_images, processor())
    mixtures = {
        split: Mixture(tiny_corpus, dict.fromkeys(TASKS, 1.0), corpus_split, 32, 0)
        for split, corpus_split in (("train", "train"), ("held_out", "test"))
    }
    precompute(tmp_path / "shards", mixtures, COUNTS, encoders, {}, shard_size=5, batch_size=2)
    return tmp_path / "shards"


def test_stored_samples_are_what_the_processor_makes(shards: Path, tiny_corpus: Corpus) -> None:
    mixture, data = Mixture(tiny_corpus, dict.fromkeys(TASKS, 1.0), "train", 32, 0), PrecomputedDataset(shards, "train")
    for index in range(len(data)):
        row, prompt = data[index], mixture.sample(index).prompt
        assert [ids.tolist() for ids in row.queries] == processor().encode_queries(prompt)
        assert len(row.queries) == len(row.features) == len(prompt.images)
        assert row.ids.tolist() == processor().encode_text(prompt.text)
    assert {len(data[index].queries) for index in range(len(data))} >= {0, 1, 2}


def test_a_batch_of_samples_is_a_batch_of_prompts(shards: Path, tiny_corpus: Corpus) -> None:
    mixture, data = Mixture(tiny_corpus, dict.fromkeys(TASKS, 1.0), "train", 32, 0), PrecomputedDataset(shards, "train")
    batch = collate([data[index] for index in range(6)], processor())
    prompts = processor()([mixture.sample(index).prompt for index in range(6)])
    for name in ("input_ids", "attention_mask", "query_ids", "query_mask"):
        assert torch.equal(batch[name], getattr(prompts, name)), name


def test_the_wrong_text_also_asks_for_the_wrong_thing(shards: Path) -> None:
    data = PrecomputedDataset(shards, "train")
    rows = [data[index] for index in range(len(data))]
    for condition in ("wrong_text", "wrong_image"):
        for index, row in under(condition, rows):
            other = next(r for r in rows if torch.equal(r.ids, row.ids) and len(r.queries) == len(row.queries))
            assert all(torch.equal(a, b) for a, b in zip(row.queries, other.queries, strict=True))
            assert torch.equal(row.ids, rows[index].ids) == (condition == "wrong_image")


def test_a_few_samples_are_learned_by_heart_and_the_bundle_loads(shards: Path, tmp_path: Path) -> None:
    bundle = query_former_bundle(context=96)
    train, held_out = (PrecomputedDataset(shards, split) for split in COUNTS)
    before = {name: value.clone() for name, value in bundle.mentor.encoder.connector.state_dict().items()}
    options = MentorObjectiveConfig(condition_dropout=0.0, evaluation_samples=6)
    objective = MentorObjective(bundle, processor(), options, held_out)
    feed = MentorFeed(train, processor(), batch_size=4, length_multiple=8, seed=0)
    config = tiny_config(
        trainable=["encoder.connector", "projector", "decoder", "null_condition"],
        optim={"kind": "muon", "lr": 1e-2, "muon_lr": 0.02, "weight_decay": 0.0},
        schedule={"steps": 15, "warmup": 2, "floor": 0.0},
        logging={"every": 0, "evaluate_every": 0},
        checkpointing={"every": 0},
    )
    batch = feed.batch(0)
    with torch.no_grad():
        first = float(objective.loss(batch, 0)[0])
    final = Trainer(config, objective, feed, device="cpu").run(tmp_path / "run")
    with torch.no_grad():
        last = float(objective.loss(batch, 0)[0])
        metrics = objective.evaluate()
        unasked = {name: value for name, value in batch.items() if not name.startswith("query_")}
        assert not torch.equal(objective.token_losses(batch), objective.token_losses(unasked))
    print(first, last)
    assert last < 0.8 * first
    assert {"nll", "object_nll/right", "object_nll/wrong_text"} <= set(metrics)
    after = objective.module.encoder.connector.state_dict()
    assert all(not torch.equal(after[name], before[name]) for name in ("query_tokens", "language_projection.weight"))
    loaded = load_bundle(final)
    assert loaded.config == bundle.config
    assert loaded.query_tokenizer is not None


def test_shards_of_another_connector_are_refused() -> None:
    config = tiny_config(data={"shards": "here"})
    mlp, queries = tiny_bundle(), query_former_bundle()
    queries.mentor.encoder.vision.load_state_dict(mlp.mentor.encoder.vision.state_dict())
    queries.image_tokenizer.load_state_dict(mlp.image_tokenizer.state_dict())
    check_origin(config, origin_of(config, queries), queries)
    assert "query_former" not in origin_of(config, mlp), "older shards would no longer fit"
    for made, used in ((mlp, queries), (queries, mlp)):
        with pytest.raises(ValueError, match=r"shards in here do not fit this model \(query_former"):
            check_origin(config, origin_of(config, made), used)
