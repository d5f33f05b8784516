"""Networks that metrics are made of: told by name and hash, run in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mentor.checkpoint.hub import split_revision

BATCH = 32
"""Pictures or texts that go through a network at once."""

Features = NDArray[np.float32]
"""One row a picture or text: [B, F]."""


def described(source: str, model: Any) -> str:
    """A source for a report: the hub id with the commit that was loaded, which is a source too, or the folder's name."""
    commit = getattr(model.config, "_commit_hash", None)
    return f"{split_revision(source)[0]}@{commit}" if commit else source


def fingerprint(model: torch.nn.Module, name: str) -> str:
    """Hash of a network's weights and of its name."""
    digest = hashlib.sha256(name.encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def in_batches(network: Callable[[Sequence[Any]], Tensor], inputs: Sequence[Any]) -> Features:
    """A network's outputs [B, F] for any number of inputs, at least one, ``BATCH`` at a time."""
    parts = [network(inputs[start : start + BATCH]).float().cpu().numpy() for start in range(0, len(inputs), BATCH)]
    return np.concatenate(parts)
