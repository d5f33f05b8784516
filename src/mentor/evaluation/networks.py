"""Networks that metrics are made of: loaded whole or refused with what to do, told by name and hash, run in batches."""

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


def load_network(kind: Any, what: str, source: str, **settings: Any) -> Any:
    """``kind.from_pretrained(source)`` in single precision and evaluation mode; ``ValueError`` also for missing weights."""
    model, found = load_part(kind, what, source, dtype=torch.float32, output_loading_info=True, **settings)
    # transformers fills what is missing with random numbers: a metric of those would look like any other.
    if found["missing_keys"] or found["mismatched_keys"]:
        lacking = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
        raise ValueError(f"{what} {source} has no fitting weights for {lacking[0]} ({len(lacking)} in all)")
    return model.eval()


def load_part(kind: Any, what: str, source: str, **settings: Any) -> Any:
    """``kind.from_pretrained``; ``source`` is a folder or a hub id, which may be pinned, ``owner/name@revision``.

    ``ValueError`` says what is missing and what to do about it.
    """
    repository, revision = split_revision(source)
    if revision is not None:
        settings["revision"] = revision
    # OSError: not there, no network, no such repository; ValueError: a folder of another kind of model.
    try:
        return kind.from_pretrained(repository, **settings)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{what} {source} cannot be loaded ({reason}); give a hub id or a local folder as backbone, or choose the "
            "preset stand-in"
        ) from error
