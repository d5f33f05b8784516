"""How the ST-LPIPS asset was made: ``python -m mentor.construction.perceptual_weights WHEEL OUTPUT``.

WHEEL is the PyPI distribution ``stlpips_pytorch`` 0.0.2 (BSD-2-Clause); only its weight file is read.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from mentor.files import whole

MEMBER = "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth"
_TRUNK = {"slice1.0": "conv1", "slice2.5": "conv2", "slice3.9": "conv3", "slice4.11": "conv4", "slice5.13": "conv5"}


def convert(wheel: Path, output: Path) -> None:
    """Write the trunk's five convolutions and the five heads as float16; ValueError if the file is not that wheel."""
    if not zipfile.is_zipfile(wheel):
        raise ValueError(f"expected the stlpips_pytorch wheel, got {wheel}, which is no zip archive")
    with zipfile.ZipFile(wheel) as archive:
        if MEMBER not in archive.namelist():
            raise ValueError(f"expected {MEMBER} in {wheel}; use stlpips_pytorch 0.0.2")
        state = torch.load(io.BytesIO(archive.read(MEMBER)), map_location="cpu", weights_only=True)
    tensors: dict[str, Tensor] = {}
    for theirs, ours in _TRUNK.items():
        for part in ("weight", "bias"):
            tensors[f"{ours}.{part}"] = state[f"net.{theirs}.{part}"].half().contiguous()
    for i in range(5):
        tensors[f"heads.{i}"] = state[f"lin{i}.model.1.weight"].flatten().half()
    with whole(output) as partial:
        save_file(tensors, partial)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
