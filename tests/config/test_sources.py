"""Options of sources: shares that cannot be are refused when a recipe is read, before anything is drawn."""

from __future__ import annotations

import pytest

from mentor.config.data import DataConfig
from mentor.config.sources import SourceConfig

SHARES = [
    ("corpus", "recolour"),
    ("released", "image_only"),
    ("released", "replace_subject"),
    ("llava", "image_only"),
    ("pairs", "image_only"),
]


@pytest.mark.parametrize(("kind", "name"), SHARES)
def test_shares_lie_between_0_and_1(kind: str, name: str) -> None:
    for share in (0.0, 0.5, 1.0):
        resolved = SourceConfig(kind, path="there", options={name: share}).resolved()  # type: ignore[arg-type]
        assert getattr(resolved, name) == share
    for share in (-0.1, 1.5, float("nan")):
        for build in (
            lambda: SourceConfig(kind, path="there", options={name: share}),  # type: ignore[arg-type]  # noqa: B023
            lambda: DataConfig(defaults={kind: {name: share}}),  # noqa: B023
        ):
            with pytest.raises(ValueError, match=f"{name}: expected a share from 0 to 1, got {share}"):
                build()
