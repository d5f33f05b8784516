"""Precomputing: equal to computing each sample on the spot, whatever is interrupted and however many processes work."""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from mentor.data.mixture import Mixture
from mentor.data.precompute import Encoders, precompute
from mentor.data.prepared import token_mask
from mentor.data.processor import Processor
from mentor.data.shards import PrecomputedDataset
from mentor.data.tasks import TASKS
from mentor.files import PARTIAL, locked
from tests.generation.tiny_bundle import tiny_bundle

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus

COUNTS = {"train": 9, "held_out": 3}
FEWER = {"train": 6, "held_out": 3}


def _encoders() -> Encoders:
    bundle = tiny_bundle(context=96)
    return Encoders(
        codes=bundle.image_tokenizer.encode,
        features=bundle.mentor.encoder.vision,
        processor=Processor(bundle.config, bundle.text_tokenizer),
    )


def _mixtures(corpus: Corpus) -> dict[str, Mixture]:
    weights = dict.fromkeys(TASKS, 1.0)
    return {"train": Mixture(corpus, weights, "train", 32, 0), "held_out": Mixture(corpus, weights, "test", 32, 0)}


def _run(folder: Path, corpus: Corpus, encoders: Encoders | None = None, **options: Any) -> None:
    settings = {"counts": COUNTS, "origin": {"a": 1}, "shard_size": 4, "batch_size": 2} | options
    precompute(folder, _mixtures(corpus), encoders=encoders or _encoders(), **settings)


def test_samples_equal_those_computed_on_the_spot(tmp_path: Path, tiny_corpus: Corpus) -> None:
    _run(tmp_path / "s", tiny_corpus)
    bundle = tiny_bundle(context=96)
    processor = Processor(bundle.config, bundle.text_tokenizer)
    for split, mixture in _mixtures(tiny_corpus).items():
        data = PrecomputedDataset(tmp_path / "s", split)
        assert len(data) == COUNTS[split]
        for index in range(len(data)):
            row, sample = data[index], mixture.sample(index)
            prompt = processor([sample.prompt])
            assert row.task == sample.task
            assert row.ids.tolist() == prompt.input_ids[0].tolist()
            expected = bundle.mentor.encoder.encode_images(prompt.pixel_values)
            assert torch.allclose(row.features.float(), expected, atol=1e-2, rtol=1e-3)
            pixels = torch.from_numpy(np.array(sample.target)).permute(2, 0, 1)[None] / 127.5 - 1
            assert (row.codes == bundle.image_tokenizer.encode(pixels)[0]).float().mean() > 0.9
            assert np.array_equal(row.object_mask, token_mask(sample.object_mask, 16))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".lock")}


def test_an_interrupted_run_and_worker_processes_give_the_same_bytes(tmp_path: Path, tiny_corpus: Corpus) -> None:
    _run(tmp_path / "whole", tiny_corpus)

    class Interrupted(Exception):
        pass

    def stop(split: str, done: int, total: int) -> None:
        if done > 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        _run(tmp_path / "parts", tiny_corpus, progress=stop)
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 2
    with pytest.raises(ValueError, match="train-00002"):
        PrecomputedDataset(tmp_path / "parts", "train")
    made, counting = _counting()
    _run(tmp_path / "parts", tiny_corpus, counting, workers=1)
    assert sum(made) == 1 + 3  # the ninth training sample and the held-out ones: nothing twice
    assert _contents(tmp_path / "parts") == _contents(tmp_path / "whole")


def test_shares_together_make_what_one_process_makes(tmp_path: Path, tiny_corpus: Corpus) -> None:
    _run(tmp_path / "whole", tiny_corpus)
    made, counting = _counting()
    for share in (1, 0):
        _run(tmp_path / "shares", tiny_corpus, counting, share=(share, 2))
        if share:
            assert {path.name for path in (tmp_path / "shares").glob("*.safetensors")} == {"train-00001.safetensors"}
    assert sum(made) == sum(COUNTS.values())
    assert _contents(tmp_path / "shares") == _contents(tmp_path / "whole")


def test_a_share_is_made_once_and_beside_others_but_not_beside_the_whole(tmp_path: Path, tiny_corpus: Corpus) -> None:
    folder = tmp_path / "s"
    _run(folder, tiny_corpus, share=(0, 2))
    left = folder / f"{PARTIAL}train-00001.safetensors-77-88"
    left.write_bytes(b"another share's, half written")

    def hold(sign: Path, *locks: tuple[str, bool]) -> multiprocessing.process.BaseProcess:
        holder = multiprocessing.get_context("fork").Process(target=_holds, args=(folder, sign, locks))
        holder.start()
        while not sign.exists():
            time.sleep(0.01)
        return holder

    other = hold(tmp_path / "one", (".lock", True), (".lock-0-of-2", False))
    with pytest.raises(ValueError, match="share 0/2 is being made already"):
        _run(folder, tiny_corpus, share=(0, 2))
    with pytest.raises(ValueError, match="another process makes shards there"):
        _run(folder, tiny_corpus)
    _run(folder, tiny_corpus, share=(1, 2))
    assert left.exists()
    other.kill()
    other.join()
    whole = hold(tmp_path / "two", (".lock", False))
    with pytest.raises(ValueError, match="another process makes shards there"):
        _run(folder, tiny_corpus, share=(1, 2))
    whole.kill()
    whole.join()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux tells them")
def test_what_comes_from_workers_keeps_no_file_open(tmp_path: Path, tiny_corpus: Corpus) -> None:
    """A shard holds thousands of samples until it is written; many systems allow 1,024 open files."""
    most, before = [0], len(list(Path("/proc/self/fd").iterdir()))
    plain, many = _encoders(), {"counts": {"train": 80, "held_out": 3}, "shard_size": 80}

    def codes(pixels: torch.Tensor) -> torch.Tensor:
        most[0] = max(most[0], len(list(Path("/proc/self/fd").iterdir())))
        return plain.codes(pixels)

    _run(tmp_path / "shards", tiny_corpus, dataclasses.replace(plain, codes=codes), workers=1, **many)
    assert most[0] - before < 30


def _counting() -> tuple[list[int], Encoders]:
    """Encoders, and how many pictures each call of them was given."""
    made: list[int] = []
    encoders = _encoders()
    return made, Encoders(lambda p: made.append(len(p)) or encoders.codes(p), encoders.features, encoders.processor)


def test_more_samples_are_added_to_those_that_are_there(tmp_path: Path, tiny_corpus: Corpus) -> None:
    _run(tmp_path / "whole", tiny_corpus)
    _run(tmp_path / "grown", tiny_corpus, counts=FEWER)
    made, counting = _counting()
    _run(tmp_path / "grown", tiny_corpus, counting)
    assert sum(made) == 5  # the second shard again, which was half full, and the third: no held-out sample
    assert _contents(tmp_path / "grown") == _contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("counts", "difference"),
    [(FEWER, "samples.train: 9 -> 6"), ({"train": 12, "held_out": 2}, "samples.held_out: 3 -> 2")],
)
def test_samples_are_not_taken_away(
    tmp_path: Path, tiny_corpus: Corpus, counts: dict[str, int], difference: str
) -> None:
    _run(tmp_path / "s", tiny_corpus)
    before = _contents(tmp_path / "s")
    with pytest.raises(ValueError, match=f"made otherwise .*{difference}"):
        _run(tmp_path / "s", tiny_corpus, counts=counts)
    assert _contents(tmp_path / "s") == before


def test_shards_of_another_origin_are_not_mixed(tmp_path: Path, tiny_corpus: Corpus) -> None:
    _run(tmp_path / "s", tiny_corpus)
    with pytest.raises(ValueError, match=r"made otherwise \(origin.a: 1 -> 2\)"):
        _run(tmp_path / "s", tiny_corpus, origin={"a": 2})


def test_what_a_killed_process_left_is_removed_but_not_what_another_is_writing(
    tmp_path: Path, tiny_corpus: Corpus
) -> None:
    folder = tmp_path / "s"
    _run(folder, tiny_corpus)
    left = folder / f"{PARTIAL}train-00001.safetensors-77-88"
    left.write_bytes(b"half")
    holder = multiprocessing.get_context("fork").Process(
        target=_holds, args=(folder, tmp_path / "go", [(".lock", False)])
    )
    holder.start()
    while not (tmp_path / "go").exists():
        time.sleep(0.01)
    with pytest.raises(ValueError, match="another process makes shards there; wait for it"):
        _run(folder, tiny_corpus)
    assert left.exists()
    holder.kill()
    holder.join()
    _run(folder, tiny_corpus)
    assert not left.exists() and len(PrecomputedDataset(folder, "train")) == 9


def _holds(folder: Path, sign: Path, locks: Sequence[tuple[str, bool]]) -> None:
    with ExitStack() as held:
        for name, shared in locks:
            held.enter_context(locked(folder / name, "taken", shared=shared))
        sign.touch()
        time.sleep(60)


def test_a_token_shows_the_object_from_a_quarter_of_its_pixels_on() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[0:2, 0:2] = True  # 4 of 16 pixels of cell 0
    mask[0, 4:7] = True  # 3 of 16 pixels of cell 1
    mask[4:8, 4:8] = True  # all of cell 3
    assert token_mask(mask, 4).tolist() == [True, False, False, True]
