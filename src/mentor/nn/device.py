"""Devices: the names a user gives to them and to number formats, and whether their memory sufficed."""

from __future__ import annotations

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str | torch.device | None = None) -> torch.device:
    """A device that really computes; ``None`` and ``auto`` mean CUDA where there is one, else the CPU.

    Raises:
        ValueError: torch does not know the name, or cannot use such a device on this machine.
    """
    if name is None or name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device: expected cpu, cuda, cuda:1, mps or the like, got {name!r}") from error
    try:
        torch.zeros(1, device=device).item()
    except torch.OutOfMemoryError:
        raise
    # A build without CUDA raises AssertionError, other backends that are not there the rest.
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        raise ValueError(f"device: {name} cannot be used on this machine; cpu always can") from error
    return device


def out_of_memory(error: BaseException) -> bool:
    """Whether the memory of a GPU or of the computer did not suffice; for the latter torch has no exception of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def resolve_dtype(name: str | torch.dtype | None = None) -> torch.dtype | None:
    """A number format of weights and activations; ``None`` stays None. Raises ``ValueError`` for another name."""
    if name is None or isinstance(name, torch.dtype):
        return name
    if name not in DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]
