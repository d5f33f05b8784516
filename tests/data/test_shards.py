"""Shards on disk: what is written comes back, and damage is named."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from mentor.data import shards
from mentor.data.shards import PrecomputedDataset, Row, read_manifest, shard_name, write_shard
from tests.training.tiny_mentor import dataset, rows


def _equal(a: Row, b: Row) -> bool:
    tensors = all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("ids", "features", "codes", "object_mask")
    )
    return tensors and a.task == b.task


def test_rows_come_back_from_several_shards(tmp_path: Path) -> None:
    data = dataset(tmp_path / "s", 13)
    assert len(data) == 13
    assert all(_equal(data[i], expected) for i, expected in enumerate(rows(13)))
    assert data.lengths.tolist() == [len(row.ids) for row in rows(13)]
    assert data.counts() == {"text_to_image": 5, "subject": 4, "multi": 4}
    assert data[0].features.shape[1:] == (4, 16)
    assert data[0].ids.dtype == data[0].codes.dtype == torch.int64


def test_others_may_read_a_shard_and_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / shard_name("train", 0)
    write_shard(path, rows(3))
    assert path.stat().st_mode & 0o444 == 0o444

    def full(tensors: object, partial: Path) -> None:
        partial.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(shards, "save_file", full)
    with pytest.raises(
        ValueError, match=r"train-00000.safetensors cannot be written .*No space left.*is the disk full\?"
    ):
        write_shard(path, rows(4))
    assert list(tmp_path.iterdir()) == [path]


def test_tasks_can_be_left_out(tmp_path: Path) -> None:
    dataset(tmp_path / "s", 13)
    data = PrecomputedDataset(tmp_path / "s", "train", without=("subject", "segment"))
    kept = [row for row in rows(13) if row.task != "subject"]
    assert len(data) == len(kept) == 9
    assert all(_equal(data[i], expected) for i, expected in enumerate(kept))
    assert data.lengths.tolist() == [len(row.ids) for row in kept]
    assert data.counts() == {"text_to_image": 5, "multi": 4}
    with pytest.raises(IndexError, match="sample 9 of 9"):
        data[9]
    assert len(PrecomputedDataset(tmp_path / "s", "train", without=("subject", "multi", "text_to_image"))) == 0


def test_a_worker_process_maps_the_shards_itself(tmp_path: Path) -> None:
    """Where workers are not forked, what is sent to them would be a copy of all shards."""
    dataset(tmp_path / "s", 200)
    data = PrecomputedDataset(tmp_path / "s", "train", without=("subject",))
    sent = ForkingPickler.dumps(data)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert len(again) == len(data) == 133
    assert again.lengths.tolist() == data.lengths.tolist()
    assert all(_equal(again[index], data[index]) for index in range(len(data)))


@pytest.mark.parametrize("index", [-1, 13])
def test_an_index_outside(tmp_path: Path, index: int) -> None:
    with pytest.raises(IndexError, match="of 13"):
        dataset(tmp_path / "s", 13)[index]


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no precomputed shards"):
        PrecomputedDataset(tmp_path, "train")
    dataset(tmp_path / "s", 13)
    with pytest.raises(ValueError, match="expected a split among train, held_out"):
        PrecomputedDataset(tmp_path / "s", "test")
    broken = tmp_path / "s" / shard_name("train", 1)
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"train-00001.safetensors cannot be read"):
        PrecomputedDataset(tmp_path / "s", "train")
    broken.unlink()
    with pytest.raises(ValueError, match=r"train-00001.safetensors cannot be read"):
        PrecomputedDataset(tmp_path / "s", "train")
    (tmp_path / "s" / "shards.json").write_text("{")
    with pytest.raises(ValueError, match="holds no precomputed shards"):
        read_manifest(tmp_path / "s")
