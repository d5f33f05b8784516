"""The networks that measure give the same numbers on a GPU, and bring their masks back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mentor.evaluation.backbones import Clip, Inception, load_dino
from mentor.evaluation.detectors import Mask2Former
from tests.evaluation.networks import answer_with_a_dog, save_clip, save_dino, save_inception, save_mask2former
from tests.evaluation.test_backbones import noise


def test_features_are_those_of_the_cpu(tmp_path: Path, device: str) -> None:
    """Tolerance 1e-3: 32-bit arithmetic in another order."""
    save_inception(tmp_path / "inception.pt")
    pictures = [noise(256, 256), noise(300, 200, 1)]
    clip, dino = str(save_clip(tmp_path / "clip")), str(save_dino(tmp_path, 1))
    pairs = [
        tuple(Clip(clip, where) for where in ("cpu", device)),
        tuple(load_dino(dino, where) for where in ("cpu", device)),
        tuple(load_dino("stand-in", where) for where in ("cpu", device)),
        tuple(Inception(str(tmp_path / "inception.pt"), where) for where in ("cpu", device)),
    ]
    for here, there in pairs:
        np.testing.assert_allclose(there.images(pictures), here.images(pictures), atol=1e-3)


def test_detections_are_those_of_the_cpu(tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, picture = str(save_mask2former(tmp_path / "mask2former")), noise(256, 256)
    here, there = Mask2Former(source), Mask2Former(source, device)
    answer_with_a_dog(here, monkeypatch)
    (one,), (other,) = here(picture), there(picture)
    assert one.label == other.label == "dog"
    assert one.score == pytest.approx(other.score, abs=1e-3)
    assert (one.mask == other.mask).mean() > 0.99
