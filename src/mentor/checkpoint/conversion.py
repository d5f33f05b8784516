"""What every conversion takes and tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentor.checkpoint.hub import HubOptions
from mentor.checkpoint.sources import Assembled

Progress = Callable[[int, int], object]
"""Told the bytes that are done and all bytes."""


@dataclass(frozen=True)
class Extras:
    """What may be given beside the checkpoint and the image tokenizer."""

    vision: Path | None = None
    """Hub folder of CLIP, for a checkpoint without a vision tower."""
    language: Path | None = None
    """Hub folder of T5: the text tokenizer, and the weights for a checkpoint without a language encoder."""
    projector: Path | None = None
    """LLaVA projector file, or ``random``, for a checkpoint without a connector."""
    image_size: int | None = None
    """Side of the pictures in pixels."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keys of ``MentorConfig`` that overrule shapes and preset."""
    hub: HubOptions = field(default_factory=HubOptions)


@dataclass
class Report:
    """What a conversion wrote, and what the user should know of it, a sentence each."""

    out: Path
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def outline(build: Callable[[], nn.Module], source: Path) -> dict[str, Tensor]:
    """Names and shapes of a module, without memory; a ValueError of building it names ``source``."""
    try:
        with torch.device("meta"):
            return dict(build().state_dict())
    except ValueError as error:
        raise ValueError(f"{source}: {error} (--config FILE overrules what the shapes seem to say)") from error


def count_bytes(progress: Progress | None, *parts: Assembled) -> None:
    """Has every tensor that is read from ``parts`` told to ``progress``."""
    if progress is None:
        return
    total, done = sum(part.nbytes for part in parts), 0

    def on_read(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    for part in parts:
        part.on_read = on_read
