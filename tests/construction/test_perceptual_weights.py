"""The conversion that made the ST-LPIPS asset."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mentor.construction.perceptual_weights import MEMBER, convert
from mentor.models.perceptual import STLPIPS

_TRUNK = [("slice1.0", 3, 64, 11), ("slice2.5", 64, 192, 5), ("slice3.9", 192, 384, 3), ("slice4.11", 384, 256, 3)]


def test_converted_names_and_shapes_are_the_models(tmp_path: Path) -> None:
    state: dict[str, torch.Tensor] = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for name, before, after, side in [*_TRUNK, ("slice5.13", 256, 256, 3)]:
        state[f"net.{name}.weight"] = torch.randn(after, before, side, side)
        state[f"net.{name}.bias"] = torch.randn(after)
    for i, width in enumerate((64, 192, 384, 256, 256)):
        state[f"lin{i}.model.1.weight"] = torch.rand(1, width, 1, 1)
    data = io.BytesIO()
    torch.save(state, data)
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(MEMBER, data.getvalue())
    convert(tmp_path / "a.whl", tmp_path / "out.safetensors")
    tensors = load_file(tmp_path / "out.safetensors")
    expected = STLPIPS().state_dict()
    assert {k: v.shape for k, v in tensors.items()} == {k: v.shape for k, v in expected.items()}
    assert {v.dtype for v in tensors.values()} == {torch.float16}
    assert torch.equal(tensors["conv2.weight"], state["net.slice2.5.weight"].half())
    assert torch.equal(tensors["heads.3"], state["lin3.model.1.weight"].flatten().half())
    assert {path.name for path in tmp_path.iterdir()} == {"a.whl", "out.safetensors"}


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ValueError, match="no zip archive"):
        convert(tmp_path / "text", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(ValueError, match=r"0\.0\.2"):
        convert(tmp_path / "b.whl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
