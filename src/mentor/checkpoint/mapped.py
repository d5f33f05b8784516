"""Tensors that stay in their file until they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

_MAPPED_BYTES = 1_000_000_000
"""A file is mapped anew after this many bytes were handed out: pages that were read count as ours until the map is closed."""


class MappedWeights(Mapping[str, Tensor]):
    """The tensors of files by name, in the files' own number types.

    ``outline`` has the same names, with tensors on the meta device: shapes and types without numbers.
    """

    def __init__(self, read: Callable[[], Mapping[str, Tensor]]) -> None:
        """``read`` maps the files; it is called again from time to time."""
        self._read = read
        self._tensors = read()
        self._handed = 0
        self.outline = {name: torch.empty_like(tensor, device="meta") for name, tensor in self._tensors.items()}

    def __getitem__(self, name: str) -> Tensor:
        if self._handed > _MAPPED_BYTES:
            self._tensors, self._handed = self._read(), 0
        tensor = self._tensors[name]
        self._handed += tensor.nbytes
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.outline)

    def __len__(self) -> int:
        return len(self.outline)
