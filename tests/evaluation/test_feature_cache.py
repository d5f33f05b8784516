from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mentor.evaluation.feature_cache import CHUNK, FeatureCache, content


@dataclass
class Mean:
    """A backbone that notes how many pictures it was given."""

    fingerprint: str = "mean"
    name: str = "mean"
    seen: list[int] = field(default_factory=list)

    def images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.seen.append(len(pictures))
        return np.stack([np.asarray(each, dtype=np.float32).mean(axis=(0, 1)) for each in pictures])


def colours(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (4, 4), (number, 0, 1)) for number in range(count)]


def test_features_are_computed_once_and_come_in_order(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    backbone, cache = Mean(), FeatureCache(tmp_path, lambda *step: told.append(step))
    pictures = colours(CHUNK + 3)
    first = cache.images(backbone, iter(pictures), count=len(pictures), what="here")
    np.testing.assert_array_equal(first[:, 0], np.arange(CHUNK + 3))
    assert backbone.seen == [CHUNK, 3] and told == [("here", CHUNK, CHUNK + 3), ("here", CHUNK + 3, CHUNK + 3)]
    again = cache.images(backbone, pictures[::-1], count=len(pictures))
    np.testing.assert_array_equal(again, first[::-1])
    assert backbone.seen == [CHUNK, 3]


def test_only_new_pictures_and_new_backbones_are_computed(tmp_path: Path) -> None:
    backbone, other, cache = Mean(), Mean("other"), FeatureCache(tmp_path)
    cache.images(backbone, colours(3), count=3)
    cache.images(backbone, [*colours(5), *colours(5)], count=10)
    cache.images(other, colours(2), count=2)
    assert (backbone.seen, other.seen) == ([3, 2], [2])


def test_a_failure_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mentor.evaluation.feature_cache.np.save", full)
    with pytest.raises(OSError, match="No space"):
        FeatureCache(tmp_path).images(Mean(), colours(1), count=1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_content_sees_size_and_pixels_but_not_the_mode() -> None:
    gray = Image.new("L", (2, 8), 7)
    assert content(gray) == content(gray.convert("RGB"))
    assert len({content(each) for each in (gray, Image.new("L", (4, 4), 7), Image.new("L", (2, 8), 8))}) == 3
