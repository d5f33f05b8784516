"""The pictures that are judged: generated once, kept as files named after everything they depend on, found again later."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import torch
from PIL import Image

import mentor
from mentor.config.load import to_dict
from mentor.config.sampling import GenerationSettings
from mentor.data.images import load_image
from mentor.data.pixels import picture_pixels
from mentor.evaluation.feature_cache import content
from mentor.evaluation.processes import ALONE, Processes
from mentor.evaluation.protocol import Progress
from mentor.files import whole
from mentor.prompt import Prompt

if TYPE_CHECKING:
    from mentor.generation.pipeline import MentorPipeline

RECODE_BATCH = 32


class Painter(Protocol):
    """What evaluation asks of a model."""

    name: str
    size: int
    """Side of its pictures in pixels."""
    fingerprint: str
    """Changes whenever the same prompt and seed may give another picture: weights, settings, code version."""

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image.Image]:
        """One picture for each prompt, drawn with its own seed; any number of prompts."""


class PipelinePainter:
    """A ``MentorPipeline`` with fixed sampling settings as a ``Painter``."""

    def __init__(self, pipeline: MentorPipeline, name: str, settings: GenerationSettings) -> None:
        self.pipeline, self.name, self.settings = pipeline, name, settings
        self.size = pipeline.config.image_size
        digest = hashlib.sha256(
            repr((mentor.__version__, sorted(asdict(settings).items()), str(pipeline.dtype))).encode()
        )
        shape = {k: v for k, v in to_dict(pipeline.config).items() if k not in ("name", "generation")}
        digest.update(json.dumps(shape, sort_keys=True).encode())
        for text_tokenizer in (pipeline.bundle.text_tokenizer, pipeline.bundle.query_tokenizer):
            digest.update(b"" if text_tokenizer is None else text_tokenizer.to_str().encode())
        for module in (pipeline.mentor, pipeline.image_tokenizer):
            for key, tensor in sorted(module.state_dict().items()):
                digest.update(key.encode())
                digest.update(tensor.detach().cpu().float().numpy().tobytes())
        self.fingerprint = digest.hexdigest()

    def __call__(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Image.Image]:
        condition = self.pipeline.encode(prompts)
        return self.pipeline.decode(self.pipeline.generate(condition, seeds, self.settings))

    @torch.inference_mode()
    def recode(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """Pictures of ``size`` pixels through the image tokenizer and back: the best that its codes can show."""
        made: list[Image.Image] = []
        for start in range(0, len(pictures), RECODE_BATCH):
            pixels = picture_pixels(pictures[start : start + RECODE_BATCH]).to(
                self.pipeline.device, self.pipeline.dtype
            )
            made += self.pipeline.decode(self.pipeline.image_tokenizer.encode(pixels))
        return made


@dataclass(frozen=True)
class Pictures(Sequence[Image.Image | None]):
    """Picture files as a sequence that reads them when asked; None where there is none, or none that can be read."""

    paths: Sequence[Path | None]
    failures: dict[int, str] = field(default_factory=dict)
    """Why there is none, by index; what cannot be read is added when it is asked for."""

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image.Image | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Image.Image | None]: ...
    def __getitem__(self, index: int | slice) -> Image.Image | Sequence[Image.Image | None] | None:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        path = self.paths[number]
        if path is None or number in self.failures:
            return None
        try:
            return load_image(path)
        except ValueError as error:
            self.failures[number] = str(error)
            return None


@dataclass(frozen=True)
class PictureStore:
    """Pictures under ``folder``/images, each named by a hash of the model, the settings, the prompt and the seed."""

    folder: Path
    batch_size: int = 16
    processes: Processes = ALONE
    """Each makes its share of the pictures; all must ask for the same ones, in the same order."""

    def pictures(
        self,
        painter: Painter,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        *,
        what: str = "pictures",
        progress: Progress | None = None,
    ) -> list[Image.Image]:
        """One picture for each prompt; those that lie in the folder already are read, not made again.

        Raises ``ValueError`` for a batch size below 1 or a prompt that the painter refuses, and ``OSError`` when the
        folder cannot be written.
        """
        paths, failures = self.files(painter, prompts, seeds, what=what, progress=progress)
        if failures:
            raise ValueError(next(iter(failures.values())))
        return [load_image(path) for path in paths]

    def files(
        self,
        painter: Painter,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        *,
        what: str = "pictures",
        progress: Progress | None = None,
    ) -> tuple[list[Path], dict[int, str]]:
        """The files of the pictures, and for each prompt that the painter refuses why it has none."""
        if self.batch_size < 1:
            raise ValueError(f"batch size: expected 1 or more, got {self.batch_size}")
        paths = self.paths(painter, prompts, seeds)
        mine = range(self.processes.rank, len(paths), self.processes.count)
        missing = [number for number in mine if not paths[number].is_file()]
        done = len(mine) - len(missing)
        refused: dict[int, str] = {}
        for start in range(0, len(missing), self.batch_size):
            part = missing[start : start + self.batch_size]
            for number, picture in _painted(painter, part, prompts, seeds, refused):
                _save(picture, paths[number])
            done += len(part)
            if progress is not None:
                progress(what, done, len(mine))
        return paths, {number: why for each in self.processes.gather(refused) for number, why in each.items()}

    def paths(self, painter: Painter, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Path]:
        """Where the pictures lie or will lie."""
        images = self.folder / "images"
        return [images / f"{_key(painter, prompt, seed)}.png" for prompt, seed in zip(prompts, seeds, strict=True)]


def _painted(
    painter: Painter, part: Sequence[int], prompts: Sequence[Prompt], seeds: Sequence[int], refused: dict[int, str]
) -> list[tuple[int, Image.Image]]:
    """A batch; where the painter refuses it, its prompts one by one, so that only those that it cannot draw are left out."""
    try:
        made = painter([prompts[number] for number in part], [seeds[number] for number in part])
    except ValueError as error:
        if len(part) > 1:
            return [pair for number in part for pair in _painted(painter, [number], prompts, seeds, refused)]
        refused[part[0]] = str(error)
        return []
    return list(zip(part, made, strict=True))


def check_folder(folder: Path) -> None:
    """Make the folder with its images/, and find out now whether it can be written; ``ValueError`` if it cannot."""
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


def _key(painter: Painter, prompt: Prompt, seed: int) -> str:
    asked = [painter.fingerprint, prompt.text, list(map(content, prompt.images)), seed, *prompt.queries]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24]


def _save(picture: Image.Image, path: Path) -> None:
    with whole(path) as partial:
        picture.save(partial, format="PNG")
