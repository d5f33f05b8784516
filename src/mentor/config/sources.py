"""Where training samples come from: one entry for each source of a recipe's ``data.sources``. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mentor.config.load import from_dict

Format = Literal["released", "x2i", "llava", "pairs"]
Fit = Literal["squash", "crop"]
"""How references, and the pictures of an object's record, become square. ``squash``: as the released code. ``crop``: the
centre, as plain targets."""


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}: expected a share from 0 to 1, got {share}")


@dataclass(frozen=True)
class CorpusOptions:
    """Scenes composed from the corpus; endless."""

    tasks: dict[str, float] = field(default_factory=dict)
    """Task name -> share."""
    recolour: float = 0.0
    """How often, in training, subjects that a reference shows have other colours than their own."""

    def __post_init__(self) -> None:
        _check_shares(recolour=self.recolour)


@dataclass(frozen=True)
class ReleasedOptions:
    """Records of the released data (Mentor_Stage1, Mentor_Stage2)."""

    tasks: tuple[str, ...] = ()
    """Only records of these tasks; empty: all."""
    recovery: bool = True
    """How a record with an object is read. True: as in stage 2 (recovery, subject-driven). False: always segmentation."""
    image_only: float = 0.0
    """Share of the reconstruction records whose caption is left out."""
    image_only_rows: Literal["reconstruct", "all"] = "reconstruct"
    """``all``: as the released code, where any record may become one without words."""
    replace_subject: float = 0.0
    """Share of the prompts about named objects whose first mention in the caption gives way to the image."""
    fit: Fit = "squash"
    label: Literal["always", "as_released"] = "as_released"
    """What a segmentation is asked for by. ``always``: its object's name (paper 2.3). ``as_released``: the caption alone where
    the record has no ``do_mask``, which ``recovery: false`` allows."""
    backgrounds: str | None = None
    """Jsonl of pictures (``input_image``) behind recovery's objects; paths relative to ``root``."""
    max_images: int = 4
    """A record with more objects or images keeps a random choice of this many."""

    def __post_init__(self) -> None:
        _check_shares(image_only=self.image_only, replace_subject=self.replace_subject)


@dataclass(frozen=True)
class X2IOptions:
    """Records of OmniGen's X2I."""

    examples: int = 0
    """Solved records of the same file and instruction that a prompt shows first (in-context learning)."""
    max_images: int = 4
    """Records with more images are broken."""


@dataclass(frozen=True)
class LlavaOptions:
    """Records of LLaVA's pre-training data: a picture, a question, a caption."""

    answers: bool = True
    """True: the question is the prompt and the caption the language model's answer (the ``caption`` objective). False: the
    picture is drawn again from itself and its caption."""
    image_only: float = 0.0
    """Share of the reconstructions without the caption."""
    fit: Fit = "squash"

    def __post_init__(self) -> None:
        _check_shares(image_only=self.image_only)


@dataclass(frozen=True)
class PairsOptions:
    """Records of a picture and its caption (``image``, ``text``)."""

    task: Literal["text_to_image", "reconstruct"] = "text_to_image"
    image_only: float = 0.0
    """Share of the reconstructions without the caption."""
    fit: Fit = "squash"

    def __post_init__(self) -> None:
        _check_shares(image_only=self.image_only)


@dataclass(frozen=True)
class PicturesOptions:
    """A folder of pictures of one subject, for a fine-tune; endless."""

    subject: str = ""
    """What the pictures show: the name in the prompts."""
    captions: str | None = None
    """Text file with lines ``NAME: caption``."""
    held_out: int = 0
    """The last so many pictures are kept out of training."""


Options = CorpusOptions | ReleasedOptions | X2IOptions | LlavaOptions | PairsOptions | PicturesOptions
_FORMATS: dict[str, type[Any]] = {
    "corpus": CorpusOptions,
    "released": ReleasedOptions,
    "x2i": X2IOptions,
    "llava": LlavaOptions,
    "pairs": PairsOptions,
    "pictures": PicturesOptions,
}


@dataclass(frozen=True)
class SourceConfig:
    """One source of samples."""

    kind: Literal["corpus", "released", "x2i", "llava", "pairs", "pictures", "webdataset", "huggingface"]
    """What is read: the corpus, a jsonl or json file of one of the formats, a folder of pictures of one
    subject, WebDataset tar shards, or a Hugging Face data set saved on disk; the last two hold records of ``format``."""
    path: str | None = None
    """The file; ``webdataset``: a pattern, ``shards/*.tar`` or ``shards/{000..123}.tar``, ``huggingface``: the folder;
    ``corpus``: its folder, null: the one found by ``Corpus.load``."""
    root: str | None = None
    """Folder that the names of pictures are relative to; null: the file's own."""
    format: Format | None = None
    """What the records are (``webdataset`` and ``huggingface`` only)."""
    weight: float = 1.0
    """Share of the samples; the shares need not add up to 1."""
    options: dict[str, Any] = field(default_factory=dict)
    """How records are read: the keys of ``CorpusOptions``, ``ReleasedOptions``, ... by kind or format."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or self.weight < 0:
            raise ValueError(f"weight: expected a share of 0 or more, got {self.weight}")
        held = self.kind in ("webdataset", "huggingface")
        if held != (self.format is not None):
            raise ValueError(
                f"format: a source of kind {self.kind} {'needs one' if held else 'has its own; leave it out'} "
                f"({', '.join(name for name in _FORMATS if name not in ('corpus', 'pictures'))})"
            )
        if self.path is None and self.kind != "corpus":
            raise ValueError(f"path: a source of kind {self.kind} needs one")
        self.resolved()

    def resolved(self) -> Options:
        """The options, typed. Raises ValueError for an unknown key or a value of the wrong type."""
        options: Options = from_dict(_FORMATS[self.format or self.kind], self.options, where="options")
        return options

    def within(self, folder: str | None, defaults: Mapping[str, Mapping[str, Any]]) -> SourceConfig:
        """The same source, its paths relative to ``folder``, with the options of its format that it does not give itself."""
        options = {**defaults.get(self.format or self.kind, {}), **self.options}
        paths = [str(Path(folder, p)) if folder is not None and p is not None else p for p in (self.path, self.root)]
        return replace(self, path=paths[0], root=paths[1], options=options)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raises ValueError unless ``options`` are those of the format ``name``."""
    if name not in _FORMATS:
        raise ValueError(f"data.defaults: unknown format '{name}'; known: {', '.join(_FORMATS)}")
    from_dict(_FORMATS[name], options, where=f"data.defaults.{name}")
