"""Sizes read off the tensors of a checkpoint."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from torch import Tensor


class Shapes:
    """Sizes by pattern of names; None for what is not there, so that the strict comparison afterwards can say so."""

    def __init__(self, outline: Mapping[str, Tensor]) -> None:
        self.outline = outline

    def size(self, pattern: str, dim: int) -> int | None:
        """What most of the tensors called like this have, so that one that is wrong is found to be wrong."""
        sizes = Counter(
            tensor.shape[dim]
            for name, tensor in self.outline.items()
            if re.fullmatch(pattern, name) and -tensor.ndim <= dim < tensor.ndim and tensor.numel()
        )
        return sizes.most_common(1)[0][0] if sizes else None

    def count(self, pattern: str) -> int | None:
        """How many different things stand where the pattern's group is."""
        return len({match[1] for name in self.outline if (match := re.match(pattern, name))}) or None
