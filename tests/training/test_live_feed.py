"""Training without shards: the same batches as with them, whole or in shares, from workers too; rejected records told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mentor.config.data import DataConfig
from mentor.config.load import from_dict
from mentor.config.sections import MentorObjectiveConfig
from mentor.data.precompute import Encoders, precompute
from mentor.data.processor import Processor
from mentor.data.recipe_samples import recipe_samples
from mentor.data.rejects import TooManyRejected, read_rejects
from mentor.data.shards import PrecomputedDataset
from mentor.training.feed import collate
from mentor.training.live_feed import IGNORED, LiveFeed, LiveRows
from mentor.training.objective import MentorObjective
from mentor.training.protocol import Share
from tests.data.released_folder import GOOD, write_lines, write_released
from tests.generation.tiny_bundle import tiny_bundle

CONTEXT = 60
BUNDLE = tiny_bundle(context=CONTEXT)
PROCESSOR = Processor(BUNDLE.config, BUNDLE.text_tokenizer)


def _data(folder: Path, records: list[object], limit: float = 0.0, held_out: int = 2) -> DataConfig:
    path = write_released(folder, records)
    source = {"kind": "released", "path": str(path), "options": {"backgrounds": "backgrounds.jsonl"}}
    return from_dict(DataConfig, {"sources": [source], "held_out": held_out, "reject_limit": limit})


def _feed(data: DataConfig, rejects: Path, batch_size: int = 6) -> LiveFeed:
    samples = recipe_samples(data, 0, PROCESSOR, rejects)
    return LiveFeed(samples["train"], PROCESSOR, batch_size=batch_size, length_multiple=1, seed=0)


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    return _data(tmp_path / "data", [*list(GOOD.values())] * 4)


def test_shards_and_live_batches_are_the_same(tmp_path: Path, data: DataConfig) -> None:
    samples = recipe_samples(data, 0, PROCESSOR, tmp_path / "r.jsonl")
    encoder = BUNDLE.mentor.encoder
    encoders = Encoders(BUNDLE.image_tokenizer.encode, encoder.encode_images, PROCESSOR)
    precompute(tmp_path / "shards", samples, {"train": 12, "held_out": 4}, encoders, {}, shard_size=5, batch_size=3)
    train, held_out = (PrecomputedDataset(tmp_path / "shards", split) for split in ("train", "held_out"))
    live = LiveRows(samples["held_out"], 4, BUNDLE, PROCESSOR)
    objective = MentorObjective(BUNDLE, PROCESSOR, MentorObjectiveConfig(condition_dropout=0.5), live)
    assert [row.task for row in objective.rows] == [held_out[i].task for i in range(4)]
    assert all(torch.equal(row.codes, held_out[i].codes) for i, row in enumerate(objective.rows))
    batch = _feed(data, tmp_path / "r.jsonl").batch(1)
    stored = collate([train[i] for i in range(6, 12)], PROCESSOR) | {"chances": batch["chances"]}
    encoded = objective.encoded(batch)
    for name in ("input_ids", "attention_mask", "tokens", "object_mask"):
        assert torch.equal(encoded[name], stored[name]), name
    assert torch.allclose(encoded["features"].float(), stored["features"].float(), atol=1e-2)
    losses = [objective.loss(b, 0)[0].detach() for b in (batch, stored)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-4)
    packed = MentorObjective(BUNDLE, PROCESSOR, objective.config, live, packing=True)
    assert float(packed.loss(batch, 0)[0].detach()) == pytest.approx(float(losses[0]), rel=1e-5)
    assert objective.weight(batch) == objective.weight(stored) == 6 * 16
    assert batch["skipped"] == 0


def test_a_feed_says_how_much_there_is_to_draw_from(tmp_path: Path, data: DataConfig) -> None:
    """A checkpoint remembers it: lines that are appended change which sample comes next."""
    before = _feed(data, tmp_path / "r.jsonl").data
    count = len(GOOD) * 4
    assert before == {"source 1 (train.jsonl)": f"{count} of {count} records"}
    file = Path(str(data.sources[0].path))
    with file.open("a") as more:
        more.write(json.dumps(GOOD["segment"]) + "\n")
    after = _feed(data, tmp_path / "r.jsonl").data
    assert after == {"source 1 (train.jsonl)": f"{count + 1} of {count + 1} records"}


def test_processes_share_a_batch(tmp_path: Path, data: DataConfig) -> None:
    feed = _feed(data, tmp_path / "r.jsonl")
    whole = feed.batch(3)
    parts = [feed.batch(3, Share(rank, 2)) for rank in range(2)]
    for rank, part in enumerate(parts):
        assert part["tasks"] == whole["tasks"][rank::2]
        assert torch.equal(part["pixels"], whole["pixels"][rank::2])
        assert torch.equal(part["chances"], whole["chances"][rank::2])


def test_workers_give_the_same_and_their_rejects_reach_the_file(tmp_path: Path) -> None:
    broken = GOOD["segment"] | {"image_path": "absent.png"}
    data = _data(tmp_path / "data", [*list(GOOD.values()) * 3, broken, "{"], limit=0.1)
    file = tmp_path / "run" / "rejects.jsonl"
    feed = _feed(data, file)
    alone = [feed.batch(index) for index in range(4)]
    assert sum(batch["skipped"] for batch in alone) >= 1
    reasons = [reject["reason"] for reject in read_rejects(file)]
    assert any("absent.png" in reason for reason in reasons)

    class Indexed(torch.utils.data.Dataset):
        def __getitem__(self, index: int) -> object:
            return feed.batch(index)

    loader = torch.utils.data.DataLoader(Indexed(), batch_size=None, sampler=range(4), num_workers=2)
    for one, two in zip(alone, loader, strict=True):
        assert torch.equal(one["pixels"], two["pixels"]) and one["tasks"] == two["tasks"]
    strict = _feed(_data(tmp_path / "strict", [broken] * 30, held_out=0), file)
    strict_loader = torch.utils.data.DataLoader(Indexed(), batch_size=None, sampler=range(1), num_workers=1)
    feed = strict
    with pytest.raises(
        TooManyRejected, match=r"^1 of 1 records are broken, more than data.reject_limit 0 allows"
    ) as caught:
        list(strict_loader)
    assert "\n" not in str(caught.value)


def test_prompts_beyond_the_context_are_rejected(tmp_path: Path) -> None:
    long = GOOD["text_to_image"] | {"input_text": "fox " * (CONTEXT + 1)}
    data = _data(tmp_path / "data", [long, *[GOOD["text_to_image"]] * 20], limit=0.5, held_out=0)
    feed = _feed(data, tmp_path / "r.jsonl", batch_size=21)
    feed.batch(0)
    assert [reject["index"] for reject in read_rejects(tmp_path / "r.jsonl")] == [0]
    assert "the model takes at most 60" in read_rejects(tmp_path / "r.jsonl")[0]["reason"]


def test_answers(tmp_path: Path) -> None:
    write_released(tmp_path / "data", [])
    records = [
        {"image": "fox.png", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": words}]}
        for words in ("a red fox", "the beach")
    ]
    path = write_lines(tmp_path / "data" / "chat.jsonl", records)
    data = from_dict(DataConfig, {"sources": [{"kind": "llava", "path": str(path)}], "held_out": 0})
    batch = _feed(data, tmp_path / "r.jsonl", batch_size=2).batch(0)
    assert sorted(batch["answers"].tolist()) == [[3, 11, IGNORED], [5, 6, 8]]
