"""Batches: every sample once an epoch, little padding, a pure function of seed and number."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from mentor.training.feed import MentorFeed, collate
from mentor.training.protocol import Share
from tests.training.tiny_mentor import dataset, processor, rows


def _feed(
    folder: Path, count: int = 26, batch_size: int = 4, seed: int = 0, multiple: int = 1, packing: bool = False
) -> MentorFeed:
    data = dataset(folder, count)
    return MentorFeed(data, processor(), batch_size=batch_size, length_multiple=multiple, seed=seed, packing=packing)


@pytest.mark.parametrize("packing", [False, True])
def test_an_epoch_shows_every_sample_at_most_once(tmp_path: Path, packing: bool) -> None:
    feed = _feed(tmp_path / "s", packing=packing)
    assert feed.batches_per_epoch == 6
    known = {tuple(row.codes.tolist()) for row in rows(26)}
    epochs = []
    for epoch in range(2):
        seen = [tuple(t.tolist()) for i in range(6) for t in feed.batch(epoch * 6 + i)["tokens"]]
        assert len(set(seen)) == 24
        assert set(seen) <= known
        epochs.append(seen)
    assert epochs[0] != epochs[1]


def test_batches_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    feed, other = _feed(tmp_path / "a"), _feed(tmp_path / "b", seed=1)
    again = pickle.loads(pickle.dumps(feed))  # as a worker process gets it
    for index in (11, 3, 7, 0):
        first, second = feed.batch(index), again.batch(index)
        assert first["tasks"] == second["tasks"]
        assert all(torch.equal(first[name], second[name]) for name in first if name not in ("tasks", "lengths"))
    assert not torch.equal(feed.batch(0)["tokens"], other.batch(0)["tokens"])


def test_similar_lengths_come_together(tmp_path: Path) -> None:
    feed = _feed(tmp_path / "s", count=64)
    padding = total = 0
    for index in range(feed.batches_per_epoch):
        mask = feed.batch(index)["attention_mask"]
        padding += int((~mask).sum())
        total += mask.numel()
    assert padding / total < 0.1  # 0.3 in random order


def test_packed_batches_keep_their_mix_of_tasks_and_processes_fair_shares(tmp_path: Path) -> None:
    """Sorted by length over many batches, nearly every step would train a single task."""
    mixed = {}
    for packing in (False, True):
        feed = _feed(tmp_path / str(packing), count=256, batch_size=16, packing=packing)
        batches = [feed.batch(index) for index in range(feed.batches_per_epoch)]
        largest = [max(batch["tasks"].count(task) for task in set(batch["tasks"])) / 16 for batch in batches]
        mixed[packing] = sum(share < 0.75 for share in largest) / len(largest)
    assert mixed[False] < 0.4 and mixed[True] == 1.0  # a third of the samples is of each task
    for index in range(feed.batches_per_epoch):
        assert batches[index]["lengths"] == sorted(batches[index]["lengths"])
        shares = [sum(feed.batch(index, Share(rank, 2))["lengths"]) for rank in range(2)]
        assert abs(shares[0] - shares[1]) / sum(shares) < 0.12


def test_a_batch_holds_its_rows(tmp_path: Path) -> None:
    samples = rows(3)
    batch = collate(samples, processor(), 8)
    assert batch["input_ids"].shape[1] % 8 == 0
    for i, row in enumerate(samples):
        length = len(row.ids)
        assert torch.equal(batch["input_ids"][i, :length], row.ids)
        assert batch["attention_mask"][i].tolist() == [True] * length + [False] * (batch["input_ids"].shape[1] - length)
    assert torch.equal(batch["features"], torch.cat([row.features for row in samples]))
    assert batch["features"].shape[0] == 0 + 1 + 2
    assert batch["tasks"] == ["text_to_image", "subject", "multi"]


def test_lengths_are_not_rounded_beyond_the_context() -> None:
    longest = max(len(row.ids) for row in rows(9))
    assert longest <= 24
    assert collate(rows(9), processor(), 16)["input_ids"].shape[1] == 24


def test_too_few_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold 3 samples, fewer than one batch of 4"):
        _feed(tmp_path / "s", count=3)
