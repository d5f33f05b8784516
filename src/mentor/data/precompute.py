"""Draws samples once and stores what training needs of them: everything frozen is computed here, not in every step.

Worker processes compose the pictures; the models run in the calling process. A shard that is there is not made again,
and every sample follows from (seed, index), so an interrupted run is simply started once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor.config.load import differences
from mentor.data.mixture import Mixture
from mentor.data.processor import Processor
from mentor.data.shards import SPLITS, Row, read_manifest, shard_name, write_manifest, write_shard

OBJECT_COVER = 0.25
"""A token belongs to the object when the object covers this share of its pixels."""


@dataclass(frozen=True)
class Encoders:
    """The frozen networks, as functions."""

    codes: Callable[[Tensor], Tensor]
    """Pixels float32 [B, 3, R, R] in [-1, 1] -> codes int64 [B, L], on the CPU."""
    features: Callable[[Tensor], Tensor]
    """Pixels float32 [M, 3, R', R'] of the vision tower -> features [M, P, Dv], on the CPU."""
    processor: Processor


def precompute(
    folder: Path,
    mixtures: dict[str, Mixture],
    counts: dict[str, int],
    encoders: Encoders,
    origin: dict[str, Any],
    *,
    shard_size: int = 2048,
    batch_size: int = 64,
    workers: int = 0,
    progress: Callable[[str, int, int], None] = lambda split, done, total: None,
) -> None:
    """Writes ``counts[split]`` samples of ``mixtures[split]`` for both splits into ``folder``.

    ``origin`` (plain data: configuration, fingerprints) is written beside the shards. ``progress`` is called with
    split, samples done and samples in all. Raises ValueError if the folder holds shards of another origin.
    """
    numbers = {split: -(-counts[split] // shard_size) for split in SPLITS}
    manifest = {"origin": origin, "shard_size": shard_size, "samples": counts, "shards": numbers}
    if (folder / "shards.json").exists():
        changed = differences(read_manifest(folder), manifest)
        if changed:
            raise ValueError(f"{folder} holds shards made otherwise ({'; '.join(changed[:5])}); choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, manifest)
    for split in SPLITS:
        for number in range(numbers[split]):
            path = folder / shard_name(split, number)
            indices = range(number * shard_size, min((number + 1) * shard_size, counts[split]))
            if not path.exists():
                drawn = _draw(mixtures[split], encoders.processor, indices, batch_size, workers)
                write_shard(path, [row for batch in drawn for row in _encode(batch, encoders)])
            progress(split, indices.stop, counts[split])


@dataclass(frozen=True)
class _Drawn:
    """A sample before the models have seen it."""

    ids: list[int]
    target: NDArray[np.uint8]
    references: list[Tensor]
    object_mask: NDArray[np.bool_]
    task: str


class _Samples(torch.utils.data.Dataset[_Drawn]):
    def __init__(self, mixture: Mixture, processor: Processor) -> None:
        self.mixture, self.processor = mixture, processor

    def __getitem__(self, index: int) -> _Drawn:
        sample = self.mixture.sample(index)
        return _Drawn(
            ids=self.processor.encode_text(sample.prompt.text),
            target=np.asarray(sample.target),
            references=[self.processor.pixels(image) for image in sample.prompt.images],
            object_mask=sample.object_mask,
            task=sample.task,
        )


def _draw(
    mixture: Mixture, processor: Processor, indices: range, batch_size: int, workers: int
) -> Iterator[list[_Drawn]]:
    from torch.utils.data import DataLoader

    samples = _Samples(mixture, processor)
    return iter(DataLoader(samples, batch_size, sampler=indices, num_workers=workers, collate_fn=list))


def _encode(batch: list[_Drawn], encoders: Encoders) -> list[Row]:
    codes = encoders.codes(torch.stack([_pixels(drawn.target) for drawn in batch]))
    references = [pixels for drawn in batch for pixels in drawn.references]
    side = encoders.processor.config.vision.image_size
    features = encoders.features(torch.stack(references) if references else torch.zeros(0, 3, side, side))
    parts = features.half().split([len(drawn.references) for drawn in batch])
    return [
        Row(torch.tensor(drawn.ids), part, row, token_mask(drawn.object_mask, len(row)), drawn.task)
        for drawn, part, row in zip(batch, parts, codes, strict=True)
    ]


def _pixels(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1


def token_mask(mask: NDArray[np.bool_], tokens: int) -> Tensor:
    """Pixels that show the object, bool [R, R] -> tokens that do, bool [L], row-major."""
    grid = round(tokens**0.5)
    side = mask.shape[0] // grid
    cover = mask.reshape(grid, side, grid, side).mean(axis=(1, 3))
    return torch.from_numpy(cover >= OBJECT_COVER).flatten()
