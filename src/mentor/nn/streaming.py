"""Decode steps on a CPU: where few rows meet large weights, native kernels take over from PyTorch.

PyTorch's products with one or two rows in bfloat16 read weights at less than half of what the memory gives. The kernels of
``mentor.nn.native`` read them at full speed, each once. Which code runs follows from the tensors alone, and the modules
hold the same parameters either way. Training, GPUs, compiled graphs and prompts of many rows go through PyTorch.

Shape letters: B batch, H heads, K head size, T positions, D width.
"""

from __future__ import annotations

from ctypes import CDLL
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentor.nn.native.library import library

MAX_ROWS = 32
"""A batch of 16 pictures under guidance; with more, PyTorch's matrix products come near."""
AMX_ROWS = 8
"""The same in bfloat16 on a processor with matrix units: with 16, PyTorch's products are as fast there."""
_DTYPES = (torch.float32, torch.bfloat16)
_PLAIN = (Tensor, nn.Parameter)
"""Other classes may be quantised, or spread over devices."""


class StreamingLinear(nn.Linear):
    """``nn.Linear`` without a bias, whose products with few rows are as fast as the memory."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        outputs, width = weight.shape
        rows = x.numel() // width if width else 0
        kernels = native(x, weight, rows) if x.shape[-1] == width else None
        if kernels is None:
            return F.linear(x, weight)
        y = x.new_empty((*x.shape[:-1], outputs))
        kernels.mentor_linear(
            x.data_ptr(),
            weight.data_ptr(),
            y.data_ptr(),
            rows,
            width,
            outputs,
            x.dtype is torch.bfloat16,
            torch.get_num_threads(),
        )
        return y


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor | None:
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension; None where PyTorch must do it."""
    width = weight.shape[0]
    rows = x.numel() // width if width else 0
    kernels = native(x, weight, rows) if x.shape[-1] == width else None
    if kernels is None:
        return None
    y = torch.empty_like(x)
    kernels.mentor_rms_norm(x.data_ptr(), weight.data_ptr(), y.data_ptr(), rows, width, eps, x.dtype is torch.bfloat16)
    return y


def attend_step(
    qkv: Tensor, rotation: Tensor, keys: Tensor, values: Tensor, start: int, bias: Tensor | None
) -> Tensor | None:
    """Rotates a new query and key, writes position ``start`` of the cache and attends to everything up to it.

    qkv: [B, 1, 3H, K], queries, keys, values; rotation: float32 [1, K/2, 2]; keys, values: the cache, [B, H, T, K]; bias: [B,
    1, 1, start + 1] to add to the logits, or None. Returns [B, 1, H * K], or None where PyTorch must do it.
    """
    batch, heads, capacity, width = keys.shape
    kernels = attention_kernels(qkv, rotation, keys, values, start, bias)
    if kernels is None or qkv.shape[2:] != (3 * heads, width):
        return None
    y = qkv.new_empty((batch, 1, heads * width))
    kernels.mentor_attend(
        qkv.data_ptr(),
        rotation.data_ptr(),
        keys.data_ptr(),
        values.data_ptr(),
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        batch,
        heads,
        width,
        capacity,
        start,
        qkv.dtype is torch.bfloat16,
        torch.get_num_threads(),
    )
    return y


def attention_kernels(
    x: Tensor, rotation: Tensor, keys: Tensor, values: Tensor, start: int, bias: Tensor | None
) -> CDLL | None:
    """The kernels, where they can attend from ``x`` [B, 1, ...] to such a cache: they check no size themselves."""
    batch, _, capacity, width = keys.shape
    if (
        x.shape[:2] != (batch, 1)
        or width % 32
        or width > 256
        or not 0 <= start < capacity
        or values.shape != keys.shape
        or values.dtype is not keys.dtype
        or not (values.is_cpu and values.is_contiguous())
        or rotation.shape != (1, width // 2, 2)
        or rotation.dtype is not torch.float32
        or not (rotation.is_cpu and rotation.is_contiguous())
    ):
        return None
    if bias is not None and (
        bias.shape != (batch, 1, 1, start + 1)
        or bias.dtype is not x.dtype
        or not (bias.is_cpu and bias.is_contiguous())
    ):
        return None
    return native(x, keys, batch)


@cache
def most_rows(dtype: torch.dtype) -> int:
    """How many rows the kernels multiply faster than PyTorch on this processor (measured: Zen 3; with AMX, Sapphire Rapids)."""
    if dtype is not torch.bfloat16:
        return MAX_ROWS
    tells = hasattr(torch.cpu, "get_capabilities")  # from torch 2.10 on
    return MAX_ROWS if tells and not torch.cpu.get_capabilities().get("amx_bf16", False) else AMX_ROWS


def native(x: Tensor, other: Tensor, rows: int) -> CDLL | None:
    """The kernels, where they can read both tensors and are fast for so many rows of ``x``.

    Tensors that are dense, of one number type and on the CPU; no gradient is wanted, and nobody follows PyTorch's operations.
    """
    if (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack()  # fake tensors, counted operations, ``make_fx``
        or torch._C._are_functorch_transforms_active()  # ``vmap``: a tensor has dimensions that it does not show
        or not (x.is_cpu and other.is_cpu)
        or x.dtype not in _DTYPES
        or other.dtype is not x.dtype
        or not (x.is_contiguous() and other.is_contiguous())
        or type(x) not in _PLAIN
        or type(other) not in _PLAIN
        or torch.is_autocast_enabled("cpu")
        or not 0 < rows <= most_rows(x.dtype)
    ):
        return None
    return library()
