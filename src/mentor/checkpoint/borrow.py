"""The parts of a model that its checkpoint does not hold: from the public towers, which never replace what it does hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mentor.checkpoint.conversion import Extras, Report
from mentor.checkpoint.hub_parts import read_language, read_vision
from mentor.checkpoint.official import PROJECTOR_NAMES
from mentor.checkpoint.pickles import read_pickle
from mentor.checkpoint.sources import Source
from mentor.config.model import MentorConfig

VISION, CONNECTOR, LANGUAGE = "encoder.vision.", "encoder.connector.", "encoder.language."
"""How our names of these parts begin."""


def borrowed_parts(checkpoint: Source, base: MentorConfig, extras: Extras, report: Report) -> dict[str, Source]:
    """How the names of a missing part begin -> where it is taken from.

    A public vision tower that differs from the checkpoint's is a warning. ValueError, naming the options, for a part that
    nothing gives.
    """
    parts: dict[str, tuple[str, Path | None, Callable[[Path], Source], str]] = {
        LANGUAGE: ("language encoder", extras.language, read_language, "--language DIR")
    }
    if base.vision is not None:
        parts[VISION] = ("vision tower", extras.vision, read_vision, "--vision DIR")
        parts[CONNECTOR] = ("connector", extras.projector, _read_connector, "--projector FILE")
    borrowed: dict[str, Source] = {}
    missing = []
    if not checkpoint.has("decoder."):
        return borrowed  # of another kind, which the comparison with the model will say
    for part, (what, path, read, option) in parts.items():
        if checkpoint.has(part):
            if part == VISION and path is not None:
                _compare_vision(checkpoint, read(path), report)
        elif path is None:
            missing.append(f"no {what} ({option})")
        else:
            borrowed[part] = read(path)
            report.notes.append(f"the {what} is that of {path}; {checkpoint.file.path.name} has none")
    if missing:
        hint = "" if checkpoint.has("encoder.") or base.vision is None else "; stock LlamaGen: mentor convert llamagen"
        raise ValueError(f"{checkpoint.file.path} has {', '.join(missing)}: give what is missing{hint}")
    return borrowed


def _read_connector(path: Path) -> Source:
    return Source(read_pickle(path), {theirs: CONNECTOR + ours for theirs, ours in PROJECTOR_NAMES.items()})


def _compare_vision(checkpoint: Source, public: Source, report: Report) -> None:
    names = [name for name in checkpoint.names if name.startswith(VISION)]
    differ = 0
    for name in names:
        own = checkpoint.read(name)
        # The checkpoint may have been saved in fewer bits than the public tower.
        differ += name not in public.names or not torch.equal(own, public.read(name).to(own.dtype))
    if differ:
        report.warnings.append(
            f"{differ} of the {len(names)} tensors of the vision tower in {checkpoint.file.path.name} are not those of "
            f"{public.file.path}; the checkpoint's are taken, which the model was trained with"
        )
