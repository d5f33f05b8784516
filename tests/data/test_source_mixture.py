"""The mixture: shares, epochs without repetition, purity, held-out records, what replaces broken ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mentor.data.example import BadRecord, Example, Peers
from mentor.data.record_numbers import text_number
from mentor.data.rejects import Rejects, TooManyRejected, read_rejects
from mentor.data.source_mixture import BLOCK, SourceMixture
from mentor.prompt import Prompt

PICTURE = Image.new("RGB", (8, 8))


class Numbers:
    """Record n says its source's name, n and the seed; ``broken`` records cannot be used."""

    def __init__(self, name: str, size: int, broken: frozenset[int] = frozenset()) -> None:
        self.name, self.size, self.broken = name, size, broken

    def __len__(self) -> int:
        return self.size

    def target_numbers(self) -> NDArray[np.int64]:
        return np.array([text_number(f"{self.name} {record}") for record in range(self.size)], np.int64)

    def example(self, record: int, seed: int, peers: Peers | None = None) -> Example:
        if record in self.broken:
            raise BadRecord(f"no {record}")
        return Example(Prompt(f"{self.name} {record} {seed}"), PICTURE, "text_to_image")


def _read(mixture: SourceMixture, numbers: range) -> list[tuple[str, int]]:
    texts = [mixture.sample(number).prompt.text.split() for number in numbers]
    return [(name, int(record)) for name, record, _ in texts]


def test_shares_and_epochs() -> None:
    mixture = SourceMixture([Numbers("a", 100), Numbers("b", 700), Numbers("c", 50)], [1, 3, 0], split="train", seed=0)
    drawn = _read(mixture, range(2 * BLOCK))
    counts = {name: sum(n == name for n, _ in drawn) for name in "abc"}
    assert counts == {"a": BLOCK // 2, "b": 3 * BLOCK // 2, "c": 0}
    for name, size in (("a", 100), ("b", 700)):
        records = [record for n, record in drawn if n == name]
        epochs = [records[i : i + size] for i in range(0, len(records) - size, size)]
        assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)
    within = [sum(n == "a" for n, _ in drawn[i : i + 256]) for i in range(0, len(drawn), 256)]
    assert min(within) > 35 and max(within) < 95


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_what_a_sample_shows_beside_its_record_is_of_the_same_split(split: str) -> None:
    seen: set[int] = set()

    class Showing(Numbers):
        def example(self, record: int, seed: int, peers: Peers | None = None) -> Example:
            assert peers is not None
            seen.update(peers(np.arange(self.size)).tolist())
            return super().example(record, seed)

    mixtures = {
        name: SourceMixture([Showing("a", 100)], [1], split=name, seed=0, held_out=10) for name in ("train", "held_out")
    }
    own = {record for _, record in _read(mixtures[split], range(500))}
    assert len(own) == (90 if split == "train" else 10)
    assert seen == own


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    def mixture(seed: int) -> SourceMixture:
        return SourceMixture([Numbers("a", 31), Numbers("b", 0)], [1, 1], split="train", seed=seed)

    first, other = mixture(1), mixture(1)
    other = pickle.loads(pickle.dumps(other))
    places = [0, 5000, 17, 10**9, 4095, 4096]
    texts = [first.sample(place).prompt.text for place in places]
    assert texts == [other.sample(place).prompt.text for place in reversed(places)][::-1]
    assert texts != [mixture(2).sample(place).prompt.text for place in places]
    assert len({text.split()[2] for text in texts}) == len(places)


def test_an_endless_source_is_read_in_order() -> None:
    mixture = SourceMixture([Numbers("a", 0)], [2.0], split="train", seed=4)
    assert _read(mixture, range(BLOCK - 2, BLOCK + 3)) == [("a", i) for i in range(BLOCK - 2, BLOCK + 3)]


def test_held_out_records_are_apart() -> None:
    sources, weights = [Numbers("a", 40), Numbers("b", 500)], [1, 1]
    held = SourceMixture(sources, weights, split="held_out", seed=0, held_out=20)
    train = SourceMixture(sources, weights, split="train", seed=0, held_out=20)
    kept, shown = set(_read(held, range(300))), set(_read(train, range(4000)))
    assert not kept & shown
    assert len(kept) == 4 + 20  # at most a tenth of a source
    assert len(shown) == 36 + 480
    same = SourceMixture(sources, weights, split="held_out", seed=9, held_out=20)
    assert set(_read(same, range(300))) == kept, "another seed, the same records"


def test_a_picture_that_one_source_holds_out_is_held_out_of_all() -> None:
    class Several(Numbers):
        """So many records draw each picture, which another source draws too."""

        def __init__(self, name: str, size: int, each: int) -> None:
            super().__init__(name, size)
            self.each = each

        def target_numbers(self) -> NDArray[np.int64]:
            return np.array([text_number(str(record // self.each)) for record in range(self.size)], np.int64)

    sources = [Several("a", 300, 1), Several("b", 600, 2), Several("c", 40, 1), Numbers("endless", 0)]
    pictures = {}
    for split in ("held_out", "train"):
        mixture = SourceMixture(sources, [1, 1, 1, 1], split=split, seed=0, held_out=10)
        drawn = {each for each in _read(mixture, range(4 * BLOCK)) if each[0] != "endless"}
        pictures[split] = {record // (2 if name == "b" else 1) for name, record in drawn}
        counts = {name: sum(n == name for n, _ in drawn) for name in "abc"}
        wanted = {"a": 11, "b": 22, "c": 4} if split == "held_out" else {"a": 289, "b": 578, "c": 36}
        assert counts == wanted, "about ten, and of a and b what c holds out"
    assert not pictures["held_out"] & pictures["train"]


def test_broken_records_give_way(tmp_path: Path) -> None:
    file = tmp_path / "rejects.jsonl"
    broken = frozenset({3, 7})
    source = Numbers("a", 60, broken)
    mixture = SourceMixture([source], [1], split="train", seed=0, rejects=Rejects(0.05, file))
    drawn = _read(mixture, range(60))
    assert len(drawn) == 60 and not {record for _, record in drawn} & broken
    assert {reject["index"] for reject in read_rejects(file)} == broken
    assert json.loads(file.read_text().splitlines()[0])["reason"].startswith("no ")
    again = SourceMixture([source], [1], split="train", seed=0, rejects=Rejects(0.05))
    assert _read(again, range(60)) == drawn
    strict = SourceMixture([source], [1], split="train", seed=0)
    with pytest.raises(TooManyRejected, match="data.reject_limit 0"):
        _read(strict, range(60))


def test_what_the_model_cannot_take_is_broken_too() -> None:
    def accept(example: Example) -> None:
        if int(example.prompt.text.split()[1]) % 2:
            raise ValueError("the prompt has too many tokens")

    mixture = SourceMixture([Numbers("a", 50)], [1], split="train", seed=0, accept=accept, rejects=Rejects(1.0))
    assert all(record % 2 == 0 for _, record in _read(mixture, range(50)))
    assert mixture.rejects.rejected >= 25
    hopeless = SourceMixture([Numbers("a", 5, frozenset(range(5)))], [1], split="train", seed=0, rejects=Rejects(1.0))
    with pytest.raises(ValueError, match="100 records in a row"):
        hopeless.sample(0)


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [1, float("nan")], [1, 1e-9]])
def test_impossible_shares(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"data.sources: (expected|a weight)"):
        SourceMixture([Numbers("a", 5)] * len(weights), weights, split="train", seed=0)
    with pytest.raises(ValueError, match="a has 1 records of 1 pictures, too few"):
        SourceMixture([Numbers("a", 1)], [1], split="train", seed=0, held_out=1)


def test_quotas_are_the_nearest() -> None:
    mixture = SourceMixture([Numbers(n, 9) for n in "abc"], [700, 180, 1600], split="train", seed=0)
    assert mixture.quotas.sum() == BLOCK
    assert np.abs(mixture.quotas / BLOCK - np.array([700, 180, 1600]) / 2480).max() < 1 / BLOCK
