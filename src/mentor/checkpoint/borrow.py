"""The parts of a model that its checkpoint does not hold: from the public towers, which never replace what it does hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mentor.checkpoint.conversion import Extras, Report
from mentor.checkpoint.hub_parts import read_language, read_vision
from mentor.checkpoint.mapped import MappedWeights
from mentor.checkpoint.official import MODEL_NAMES, PROJECTOR_NAMES
from mentor.checkpoint.pickles import WeightFile, read_pickle
from mentor.checkpoint.sources import Source
from mentor.config.model import MentorConfig

VISION, CONNECTOR, LANGUAGE = "encoder.vision.", "encoder.connector.", "encoder.language."
"""How our names of these parts begin."""
RANDOM = Path("random")
"""In place of a connector's file."""
NULL = "null_condition"
_FROM, _TO = "encoder.vision.trunk.embeddings.class_embedding", "projector.fc1.weight"
"""Tensors that tell the widths that a connector joins."""


def borrowed_parts(checkpoint: Source, base: MentorConfig, extras: Extras, report: Report) -> dict[str, Source]:
    """How the names of a missing part begin -> where it is taken from.

    A public vision tower that differs from the checkpoint's is a warning. ValueError, naming the options, for a part that
    nothing gives.
    """
    borrowed: dict[str, Source] = {}

    def connector(path: Path) -> Source:
        file = _random_connector(checkpoint, borrowed.get(VISION, checkpoint)) if path == RANDOM else read_pickle(path)
        return Source(file, {theirs: CONNECTOR + ours for theirs, ours in PROJECTOR_NAMES.items()})

    parts: dict[str, tuple[str, Path | None, Callable[[Path], Source], str]] = {
        LANGUAGE: ("language encoder", extras.language, read_language, "--language DIR")
    }
    if base.vision is not None:
        parts[VISION] = ("vision tower", extras.vision, read_vision, "--vision DIR")
        parts[CONNECTOR] = ("connector", extras.projector, connector, "--projector FILE or random")
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
    if {LANGUAGE, VISION} <= borrowed.keys():
        longer = _longer_null(checkpoint, extras.config.get("context", base.context))
        borrowed |= {} if longer is None else {NULL: longer}
    return borrowed


def _random_connector(checkpoint: Source, vision: Source) -> WeightFile:
    """What stage 0 starts from, the same every time: no public connector has these widths."""
    if _FROM not in vision.outline or _TO not in checkpoint.outline:
        raise ValueError(f"--projector random: {checkpoint.file.path} has no projector, or there is no vision tower")
    width_from, width = vision.outline[_FROM].shape[0], checkpoint.outline[_TO].shape[1]
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    for number, (columns, deviation) in {0: (width_from, 0.02), 2: (width, 0.005)}.items():
        drawn = torch.empty(width, columns).normal_(std=deviation, generator=generator)
        weights |= {
            f"model.mm_projector.{number}.weight": drawn,
            f"model.mm_projector.{number}.bias": torch.zeros(width),
        }
    return WeightFile(RANDOM, MappedWeights(lambda: weights), notes=("the connector is random: stage 0 trains it",))


def _longer_null(checkpoint: Source, rows: object) -> Source | None:
    """A generator's null condition for prompts that hold images: random rows, then its own; None where it has enough.

    A prompt of S tokens is guided by the last S rows: stock LlamaGen has 120, fewer than an image takes.
    """
    shape = checkpoint.outline[NULL].shape if NULL in checkpoint.outline else ()
    if not isinstance(rows, int) or len(shape) != 2 or not 0 < shape[0] < rows:
        return None
    theirs, own = checkpoint.names[NULL], checkpoint.hand_over(NULL)
    drawn = torch.empty(rows - shape[0], shape[1])
    drawn.normal_(std=shape[1] ** -0.5, generator=torch.Generator().manual_seed(0))
    weights = {theirs: torch.cat([drawn.to(own.dtype), own])}
    note = f"the null condition has {rows} rows: random ones before the {shape[0]} of {checkpoint.file.path.name}"
    return Source(WeightFile(checkpoint.file.path, MappedWeights(lambda: weights), notes=(note,)), MODEL_NAMES)


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
