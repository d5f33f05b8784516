"""The numbers of a training step, averaged over the steps between two lines of the log: one step's loss is mostly noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LAST = ("lr", "skipped_steps")
"""Numbers that are told as they are now."""
_COUNTED = ("skipped_samples",)
"""Numbers that are added up."""


class Means:
    """Means over the steps since the last ``take``; ``state`` (plain values) lets a resumed run write the same line."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self.sums: dict[str, float] = dict(state.get("sums", {}))
        self.count: int = state.get("count", 0)
        self.last: dict[str, float] = {}

    def add(self, metrics: Mapping[str, float], *, counts: bool = True) -> None:
        """Adds a step's numbers; without ``counts`` (a step that was left out) they are told only if there are no others."""
        self.last = dict(metrics)
        if counts:
            self.count += 1
            for name, value in metrics.items():
                self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        """The means, after which counting begins anew."""
        means = {name: value if name in _LAST else self._mean(name, value) for name, value in self.last.items()}
        self.sums, self.count = {}, 0
        return means

    def _mean(self, name: str, otherwise: float) -> float:
        if not self.count:
            return otherwise
        return self.sums.get(name, 0.0) / (1 if name in _COUNTED else self.count)

    @property
    def state(self) -> dict[str, Any]:
        """What ``__init__`` takes up."""
        return {"sums": self.sums, "count": self.count}
