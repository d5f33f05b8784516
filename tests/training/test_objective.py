"""MENTOR's objective: the loss against an independent computation, dropout of the condition, gaps, learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mentor.checkpoint.store import load_bundle
from mentor.config.sampling import GenerationSettings
from mentor.config.sections import MentorObjectiveConfig
from mentor.data.shards import PrecomputedDataset
from mentor.generation.decode import generate_tokens
from mentor.models.mentor import Mentor
from mentor.training.conditions import under
from mentor.training.feed import MentorFeed, collate
from mentor.training.objective import MentorObjective
from mentor.training.protocol import Batch
from mentor.training.step import seed_everything
from mentor.training.trainer import Trainer
from tests.generation.tiny_bundle import tiny_bundle
from tests.training.tiny import tiny_config
from tests.training.tiny_mentor import processor, rows, write


def _objective(tmp_path: Path, dropout: float = 0.0, **options: Any) -> MentorObjective:
    write(tmp_path / "shards", rows(12), rows(12))
    held_out = PrecomputedDataset(tmp_path / "shards", "held_out")
    config = MentorObjectiveConfig(condition_dropout=dropout)
    return MentorObjective(tiny_bundle(), processor(), config, held_out, batch_size=5, **options)


def _batch(count: int, seed: int = 0) -> Batch:
    chances = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    return collate(rows(count), processor(), 8) | {"chances": chances}


def test_the_loss_is_the_mean_log_loss_of_the_right_tokens(tmp_path: Path) -> None:
    objective = _objective(tmp_path)
    batch = _batch(6)
    with torch.no_grad():
        loss = objective.loss(batch, 0)[0]
        singles = []
        for row in rows(6):  # each sample alone, without padding
            alone = collate([row], processor(), 1)
            logits = objective.module(alone["input_ids"], alone["attention_mask"], alone["features"], alone["tokens"])
            singles.append(-logits.double().log_softmax(-1)[0].gather(1, row.codes[:, None]).mean())
    assert float(loss) == pytest.approx(float(torch.stack(singles).mean()), rel=1e-5)
    assert objective.weight(batch) == 6 * 16


def test_train_and_eval_mode_give_the_same_loss(tmp_path: Path) -> None:
    objective = _objective(tmp_path, dropout=0.5)
    batch = _batch(6)
    losses = []
    for training in (True, False):
        objective.module.train(training)
        seed_everything(0, 3)
        with torch.no_grad():
            losses.append(float(objective.loss(batch, 3)[0]))
    assert losses[0] == losses[1]


def test_dropped_prompts_are_replaced_by_the_null_condition(tmp_path: Path) -> None:
    objective = _objective(tmp_path, dropout=1.0)
    batch = _batch(6)
    other = dict(batch, input_ids=batch["input_ids"].clone(), features=torch.randn_like(batch["features"].float()))
    other["input_ids"][batch["input_ids"] > 2] = 3
    with torch.no_grad():
        assert float(objective.loss(batch, 0)[0]) == float(objective.loss(other, 0)[0])
        assert not torch.allclose(objective.token_losses(batch), objective.token_losses(other))
    objective.loss(batch, 0)[0].backward()
    gradient = objective.module.null_condition.grad
    assert gradient is not None
    assert bool(gradient.abs().sum() > 0)  # the null condition is learned


def test_about_the_asked_share_is_dropped(tmp_path: Path) -> None:
    objective, dropped = _objective(tmp_path, dropout=0.1), []
    objective.token_losses = lambda batch, drop=None: dropped.append(drop) or torch.zeros(1)  # type: ignore
    for step in range(200):
        objective.loss(_batch(12, seed=step), step)
    assert torch.cat(dropped).float().mean() == pytest.approx(0.1, abs=0.02)


def test_wrong_conditions_swap_one_thing_within_a_task() -> None:
    samples = rows(12)
    assert [index for index, _ in under("right", samples)] == list(range(12))
    images = under("wrong_image", samples)
    assert [index for index, _ in images] == [i for i, row in enumerate(samples) if len(row.features)]
    for index, row in images:
        assert torch.equal(row.ids, samples[index].ids)
        assert row.features.shape == samples[index].features.shape
        assert not torch.equal(row.features, samples[index].features)
    texts = under("wrong_text", samples)
    assert len(texts) == 12
    for index, row in texts:
        assert not torch.equal(row.ids, samples[index].ids)
        assert torch.equal(row.features, samples[index].features)
        assert torch.equal(row.codes, samples[index].codes)
    assert under("wrong_image", samples[:3]) == []


def test_evaluation_averages_over_object_tokens(tmp_path: Path) -> None:
    objective = _objective(tmp_path)
    objective.module.eval()
    with torch.no_grad():
        metrics = objective.evaluate()
        assert objective.evaluate() == metrics
        batch = collate(rows(12), processor(), 8)
        losses = objective.token_losses(batch)
        null = objective.token_losses(batch, torch.ones(12, dtype=torch.bool))
    mask = batch["object_mask"]
    subject = torch.tensor([task == "subject" for task in batch["tasks"]])
    assert metrics["nll"] == pytest.approx(float(losses.mean()), rel=1e-5)
    assert metrics["object_nll/right"] == pytest.approx(float(losses[mask].mean()), rel=1e-5)
    assert metrics["object_nll/null"] == pytest.approx(float(null[mask].mean()), rel=1e-5)
    assert metrics["object_nll/subject/right"] == pytest.approx(float(losses[subject][mask[subject]].mean()), rel=1e-5)
    assert "object_nll/text_to_image/wrong_image" not in metrics
    assert metrics["object_nll/multi/wrong_image"] != metrics["object_nll/multi/right"]


def test_without_held_out_samples_nothing_is_measured_and_training_works(tmp_path: Path) -> None:
    write(tmp_path / "shards", rows(12), [])
    held_out = PrecomputedDataset(tmp_path / "shards", "held_out")
    assert len(held_out) == 0 and held_out.counts() == {}
    options = MentorObjectiveConfig(condition_dropout=0.1)
    objective = MentorObjective(tiny_bundle(), processor(), options, held_out, sampler=lambda *_: torch.zeros(0))
    assert objective.evaluate() == {} and objective.sample_grid() is None


def test_it_is_evaluated_under_autocast_too(tmp_path: Path) -> None:
    objective = _objective(tmp_path)
    objective.module.eval()
    with torch.no_grad():
        exact = objective.evaluate()
        with torch.autocast("cpu", torch.bfloat16):
            assert objective.evaluate() == pytest.approx(exact, abs=0.1)


def test_eight_samples_are_learned_by_heart_and_the_bundle_loads(tmp_path: Path) -> None:
    objective = _objective(tmp_path, dropout=0.0, train_counts={"subject": 12})
    write(tmp_path / "eight", rows(8), rows(1))  # more of them would share prompts
    data = PrecomputedDataset(tmp_path / "eight", "train")
    feed = MentorFeed(data, processor(), batch_size=8, length_multiple=8, seed=0)
    fixed = feed.batch(0)
    feed.batch = lambda index, share=None: fixed  # type: ignore[method-assign]
    config = tiny_config(
        trainable=["encoder.connector", "projector", "decoder", "null_condition"],
        optim={"kind": "muon", "lr": 1e-2, "muon_lr": 0.02, "weight_decay": 0.0},
        schedule={"steps": 150, "warmup": 5, "floor": 0.0},
        logging={"every": 0, "evaluate_every": 0},
        checkpointing={"every": 0},
    )
    trainer = Trainer(config, objective, feed, device="cpu")
    assert "samples by task: subject 12" in trainer.describe()
    final = trainer.run(tmp_path / "run")
    with torch.no_grad():
        assert float(objective.loss(fixed, 0)[0]) < 0.05
    loaded = load_bundle(final)
    prompts = {name: fixed[name] for name in ("input_ids", "attention_mask", "features")}
    with torch.no_grad():
        likeliest = GenerationSettings(cfg_scale=1.0, temperature=0.0)
        condition = loaded.mentor.condition(**prompts)
        drawn = generate_tokens(loaded.mentor, *condition, likeliest, generators=[torch.Generator() for _ in range(8)])
        pictures, expected = (loaded.image_tokenizer.decode(tokens) for tokens in (drawn, fixed["tokens"]))
    assert torch.equal(drawn, fixed["tokens"])  # the very codes, so the very pictures
    assert torch.equal(pictures, expected)


def test_the_grid_shows_targets_above_samples(tmp_path: Path) -> None:
    def repeat(mentor: Mentor, states: Tensor, mask: Tensor) -> Tensor:
        assert states.shape[:2] == mask.shape
        return torch.stack([row.codes for row in rows(len(states))])

    objective = _objective(tmp_path, sampler=repeat)
    with torch.no_grad():
        picture = objective.sample_grid()
    assert picture is not None
    assert picture.size == (12 * 32, 2 * 32)
    assert picture.crop((0, 0, 384, 32)).tobytes() == picture.crop((0, 32, 384, 64)).tobytes()
    assert _objective(tmp_path / "other").sample_grid() is None
