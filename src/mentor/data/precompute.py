"""Draws samples once and stores what training needs of them: everything frozen is computed here, not in every step.

Worker processes compose the pictures; the models run in the calling process. A shard that is there is not made again,
and every sample follows from (seed, index), so an interrupted run is simply started once more, and one that asks for more
samples than lie there adds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mentor.config.load import differences
from mentor.data.pixels import to_pixels
from mentor.data.prepared import Prepared, Samples, prepare
from mentor.data.processor import Processor
from mentor.data.shards import SPLITS, Row, read_manifest, shard_name, write_manifest, write_shard
from mentor.files import PARTIAL, locked


@dataclass(frozen=True)
class Encoders:
    """The frozen networks, as functions."""

    codes: Callable[[Tensor], Tensor]
    """Pixels float32 [B, 3, R, R] in [-1, 1] -> codes int64 [B, L], on the CPU."""
    features: Callable[[Tensor], Tensor]
    """Pixels float32 [M, 3, R', R'] of the vision tower -> features [M, P, Dv], on the CPU."""
    processor: Processor

    @classmethod
    def of(cls, image_tokenizer: Any, encoder: Any, processor: Processor, device: torch.device) -> Encoders:
        """Those of a model whose image tokenizer and multimodal encoder are on ``device``."""
        return cls(
            lambda pixels: image_tokenizer.encode(pixels.to(device)).cpu(),
            lambda pixels: encoder.encode_images(pixels.to(device)).cpu(),
            processor,
        )


def precompute(
    folder: Path,
    mixtures: Mapping[str, Samples],
    counts: dict[str, int],
    encoders: Encoders,
    origin: dict[str, Any],
    *,
    shard_size: int = 2048,
    batch_size: int = 64,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
    progress: Callable[[str, int, int], None] = lambda split, done, total: None,
) -> None:
    """Writes ``counts[split]`` samples of ``mixtures[split]`` for both splits into ``folder``.

    ``origin`` (plain data: configuration, fingerprints) is written beside the shards. ``share``: (i, n) makes every n-th
    shard from the i-th on; others may make theirs meanwhile. ``progress`` is called with split, samples done, of others'
    shards too, and samples in all. Raises ValueError if the folder holds shards of another origin, or more
    training samples, or while another process makes shards there.
    """
    numbers = {split: -(-counts[split] // shard_size) for split in SPLITS}
    manifest = {"origin": origin, "shard_size": shard_size, "samples": counts, "shards": numbers}
    with _working(folder, *share):
        if (folder / "shards.json").exists():
            _make_room(folder, manifest)
        write_manifest(folder, manifest)
        for split in SPLITS:
            shards = {
                folder / shard_name(split, number): range(first, min(first + shard_size, counts[split]))
                for number, first in enumerate(range(0, counts[split], shard_size))
                if number % share[1] == share[0]
            }
            missing = {path: _batches(indices, batch_size) for path, indices in shards.items() if not path.exists()}
            drawn = _draw(mixtures[split], encoders.processor, list(chain.from_iterable(missing.values())), workers)
            for path, indices in shards.items():
                if path in missing:
                    write_shard(path, [row for _ in missing[path] for row in encode(next(drawn), encoders)])
                progress(split, indices.stop, counts[split])


@contextmanager
def _working(folder: Path, share: int, shares: int) -> Iterator[None]:
    """Within the block no other process makes shards of this share in the folder.

    Who makes all of them begins without what a killed process left; of a share, that may be another's that is at work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    refusal = f"{folder}: another process makes shards there; wait for it, or choose another --out"
    if shares > 1:
        with (
            locked(folder / ".lock", refusal, shared=True),
            locked(folder / f".lock-{share}-of-{shares}", f"{folder}: share {share}/{shares} is being made already"),
        ):
            yield
        return
    with locked(folder / ".lock", refusal):
        for left in folder.glob(f"{PARTIAL}*"):
            left.unlink()
        yield


def _make_room(folder: Path, manifest: dict[str, Any]) -> None:
    """Takes the last training shard away if it is to become longer.

    Held-out samples stay as many as they were: some sources take them from what would else be trained on.
    """
    present = read_manifest(folder)
    before, wanted = present["samples"]["train"], manifest["samples"]["train"]
    grown = {part: present[part] | {"train": manifest[part]["train"]} for part in ("samples", "shards")}
    changed = differences(present | grown if wanted > before else present, manifest)
    if changed:
        raise ValueError(f"{folder} holds shards made otherwise ({'; '.join(changed[:5])}); choose another --out")
    full, rest = divmod(before, manifest["shard_size"])
    if wanted > before and rest:
        (folder / shard_name("train", full)).unlink(missing_ok=True)


class _Samples(torch.utils.data.Dataset[Prepared]):
    def __init__(self, samples: Samples, processor: Processor) -> None:
        self.samples, self.processor = samples, processor

    def __getitem__(self, index: int) -> Prepared:
        return prepare(self.samples.sample(index), self.processor)


def _batches(indices: range, size: int) -> list[list[int]]:
    return [list(indices[start : start + size]) for start in range(0, len(indices), size)]


def _draw(mixture: Samples, processor: Processor, batches: list[list[int]], workers: int) -> Iterator[list[Prepared]]:
    """One loader for all shards: workers that start anew for each would load the corpus anew."""
    from torch.utils.data import DataLoader

    samples = _Samples(mixture, processor)
    return iter(DataLoader(samples, batch_sampler=batches, num_workers=workers, collate_fn=list))


def encode(batch: Sequence[Prepared], encoders: Encoders) -> list[Row]:
    """The frozen networks' part of each sample."""
    codes = encoders.codes(to_pixels(np.stack([drawn.target for drawn in batch])))
    references = [torch.from_numpy(pixels) for drawn in batch for pixels in drawn.references]
    features = encoders.features(encoders.processor.stack(references))
    parts = features.half().split([len(drawn.references) for drawn in batch])
    return [
        Row(
            ids=torch.tensor(drawn.ids),
            features=part,
            codes=row,
            object_mask=torch.from_numpy(drawn.object_mask),
            task=drawn.task,
            queries=tuple(torch.tensor(ids) for ids in drawn.queries),
        )
        for drawn, part, row in zip(batch, parts, codes, strict=True)
    ]
