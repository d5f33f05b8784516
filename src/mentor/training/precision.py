"""Which number type a device computes in at full speed.

Many processors of laptops, and of servers older than 2021, have no bfloat16 arithmetic: PyTorch emulates it there, 5 to 50
times slower than float32.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Literal

import torch

Precision = Literal["fp32", "bf16", "bf16_pure"]


@cache
def computes_bf16(device_type: str) -> bool:
    """Whether devices of this type multiply bfloat16 matrices no slower than float32 ones."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)  # not before Ampere
    if device_type != "cpu":
        return True
    if sys.platform == "darwin":
        return False  # Apple's processors have the instructions, PyTorch's builds for them use none (pytorch/torchchat #1444)
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.10
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    known = torch.cpu.get_capabilities()
    # x86: Cooper Lake, Zen 4 and later; Arm: v8.6 and later. What does not say is measured by nobody: float32 is safe.
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))


def usable(precision: Precision, device: torch.device, *, emulate: bool = False) -> Precision:
    """``precision``, or ``fp32`` where bfloat16 would be emulated and ``emulate`` does not ask for it."""
    return precision if emulate or computes_bf16(device.type) else "fp32"
