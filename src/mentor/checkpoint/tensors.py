"""Weights on disk: safetensors in 16 bits, big frozen tables in 8, read back strictly and written all or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

SCALE_SUFFIX = ".row_scale"
"""A matrix stored in 8 bits has its rows' scales (float16 [rows]) beside it under this suffix."""

EIGHT_BIT_FROM = 4_000_000
"""Matrices with at least this many entries are stored in 8 bits where that loses nothing."""


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Float matrix [rows, columns] -> int8 codes and float16 scales [rows]; code times scale is the nearest level.

    Quantising what ``dequantize_rows`` gave returns the same codes and scales, so repeated saving loses nothing more.
    """
    scale = (matrix.float().abs().amax(dim=1) / 127).half()
    codes = (matrix.float() / scale.float().clamp(min=1e-12).unsqueeze(1)).round().clamp(-127, 127)
    return codes.to(torch.int8), scale


def dequantize_rows(codes: Tensor, scale: Tensor) -> Tensor:
    """Int8 codes [rows, columns] and float16 scales [rows] -> float32 matrix."""
    return codes.float() * scale.float().unsqueeze(1)


def write_tensors(path: Path, state: Mapping[str, Tensor], *, eight_bit: frozenset[str] = frozenset()) -> None:
    """Writes floating tensors as float16 and others as they are; ValueError for values float16 cannot hold.

    Names in ``eight_bit`` are quantised by row, as are big matrices for which that is exact (they were before).
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu().contiguous()
        if name in eight_bit or _was_eight_bit(tensor):
            stored[name], stored[name + SCALE_SUFFIX] = quantize_rows(tensor)
            continue
        stored[name] = tensor.half() if tensor.is_floating_point() else tensor
        if not bool(torch.isfinite(stored[name]).all()):
            raise ValueError(f"{name} holds values that are not finite in 16 bits; the training run has diverged")
    temporary = path.with_name(path.name + ".partial")
    save_file(stored, temporary)
    temporary.chmod(0o644)  # safetensors leaves it readable by its owner alone
    os.replace(temporary, path)


def _was_eight_bit(tensor: Tensor) -> bool:
    if tensor.ndim != 2 or tensor.numel() < EIGHT_BIT_FROM or not tensor.is_floating_point():
        return False
    return torch.equal(dequantize_rows(*quantize_rows(tensor)), tensor.float())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Reads what ``write_tensors`` wrote, floating tensors as float32; ValueError for a missing, cut off or foreign file."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; the model folder is not complete")
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}); copy it again") from error
    state = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        scale = stored.get(name + SCALE_SUFFIX)
        if scale is not None:
            if tensor.ndim != 2 or scale.shape != tensor.shape[:1]:
                raise ValueError(f"{path}: {name} has shape {list(tensor.shape)} but scales {list(scale.shape)}")
            tensor = dequantize_rows(tensor, scale)
        state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copies ``state`` into ``module``; ValueError naming the tensors that are missing, unknown or of another shape."""
    expected = module.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not part of the configured model" for name in state if name not in expected]
    problems += [
        f"{name} has shape {list(state[name].shape)}, the configuration asks for {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ValueError(f"{source} does not fit its config.json: {'; '.join(problems[:3])}{more}")
    module.load_state_dict(dict(state))
