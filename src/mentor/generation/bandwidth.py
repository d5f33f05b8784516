"""What decoding is measured against: the time it takes to read, once, every weight that a token needs."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from mentor.models.decoder import Decoder
from mentor.nn.native.library import library

PIECE = 1 << 20
"""Bytes that one thread reads before it takes the next piece."""


@dataclass
class MemoryReader:
    """Reads a decoder's weights as fast as the memory gives them, and notes how long every pass takes.

    The bound is strict: each pass goes over the weights themselves, from the first byte to the last, with as many threads as
    decoding has, and does nothing with them. Two readers take turns, our kernel and ``torch.sum`` over int64; the faster one
    counts, by its median.
    """

    weights: list[Tensor]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Reader -> the duration of each of its passes."""

    @classmethod
    def of(cls, decoder: Decoder) -> MemoryReader:
        """For all that one token needs: of the embeddings that is a single row, which is left out."""
        embeddings = decoder.tok_embeddings.weight
        return cls([weight.detach() for weight in decoder.parameters() if weight is not embeddings])

    @property
    def bytes(self) -> int:
        """In one pass."""
        return sum(weight.numel() * weight.element_size() for weight in self.weights)

    @property
    def fastest(self) -> float:
        """Seconds of a pass of the faster reader, the median."""
        return min(statistics.median(times) for times in self.seconds.values())

    def read(self, passes: int = 1) -> None:
        """``passes`` times a pass of each reader."""
        # PyTorch's threads keep a core busy for milliseconds after their work, so they come last.
        readers = {"torch": self._sum} if library() is None else {"native": self._native, "torch": self._sum}
        for _ in range(passes):
            for name, reader in readers.items():
                start = time.perf_counter()
                reader()
                self.seconds.setdefault(name, []).append(time.perf_counter() - start)

    def _native(self) -> None:
        kernels = library()
        assert kernels is not None
        pieces, sizes, sums = self._pieces
        kernels.mentor_read(pieces.data_ptr(), sizes.data_ptr(), len(pieces), sums.data_ptr(), torch.get_num_threads())

    @cached_property
    def _pieces(self) -> tuple[Tensor, Tensor, Tensor]:
        """Address and bytes of each piece of the weights, and room for its sum."""
        pieces, sizes = [], []
        for weight in self.weights:
            total = weight.numel() * weight.element_size()
            for start in range(0, total, PIECE):
                pieces.append(weight.data_ptr() + start)
                sizes.append(min(PIECE, total - start))
        return torch.tensor(pieces), torch.tensor(sizes), torch.empty(len(pieces), dtype=torch.int64)

    def _sum(self) -> None:
        for weight in self.weights:
            numbers = weight.view(-1)
            words = numbers.numel() * numbers.element_size() // 8
            numbers.view(torch.uint8)[: 8 * words].view(torch.int64).sum()
