"""What a rival is: a ``diffusers`` pipeline, what is put on top of it, and how it samples (``assets/rivals/*.yaml``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from mentor.config.load import from_dict, load_yaml, with_overrides

PREFIX = "diffusers:"
"""Before a pipeline's hub name or folder on the command line."""


@dataclass(frozen=True)
class AdapterSettings:
    """An IP-Adapter: which file, and how strongly it acts."""

    repo: str
    """Hub name or folder."""
    subfolder: str = ""
    weights: str = "ip-adapter_sd15.safetensors"
    encoder: str = "image_encoder"
    """Folder of its image encoder; with a slash it counts from the repository, else from ``subfolder``."""
    scale: float = 0.6


@dataclass(frozen=True)
class TunedSettings:
    """Weights tuned on each subject beforehand."""

    kind: Literal["lora", "embedding"]
    path: str
    """A file or folder, with ``{collection}`` for the first part of an item's key."""
    words: str = "sks {subject}"
    """Stands in the caption where the subject stood; an embedding's own token."""


@dataclass(frozen=True)
class RivalSettings:
    """A rival; its pictures depend on nothing else."""

    pipeline: str
    """Hub name or folder of a ``diffusers`` pipeline."""
    revision: str | None = None
    adapter: AdapterSettings | None = None
    tuned: TunedSettings | None = None
    steps: int = 100
    guidance: float = 7.5
    size: int = 512

    def __post_init__(self) -> None:
        if self.steps < 1 or self.size < 8 or self.size % 8:
            raise ValueError(
                f"rival: expected steps of 1 or more and a size that 8 divides, got {self.steps} and {self.size}"
            )


def shipped_rivals() -> list[str]:
    """The names of the rivals whose settings are part of the package."""
    folder = files("mentor").joinpath("assets/rivals")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def find_rival(name: str, overrides: Sequence[str] = ()) -> RivalSettings:
    """``diffusers:ID_OR_DIR``, a shipped name or a YAML file -> settings, changed by overrides such as ``steps=20``.

    Raises ``ValueError`` for an unknown name or key and for a value out of range.
    """
    if name.startswith(PREFIX) and name != PREFIX:
        return from_dict(RivalSettings, with_overrides({"pipeline": name.removeprefix(PREFIX)}, overrides))
    if name in shipped_rivals():
        return load_yaml(Path(str(files("mentor"))) / "assets" / "rivals" / f"{name}.yaml", RivalSettings, overrides)
    if name.endswith((".yaml", ".yml")):
        return load_yaml(name, RivalSettings, overrides)
    raise ValueError(
        f"unknown rival {name!r}; expected {PREFIX}NAME_OR_FOLDER, a YAML file, or one of {', '.join(shipped_rivals())}"
    )
