"""What every benchmark is made of: items to paint, a way to score the pictures, and records from which reports are written.

A benchmark is one file with a constant ``BENCHMARK`` that fulfils ``Benchmark``; ``benchmarks.py`` lists the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from mentor.prompt import Prompt

Progress = Callable[[str, int, int], None]
"""Called with (what is being made, how many are done, how many in all)."""


@dataclass(frozen=True)
class Item:
    """One picture to be made."""

    key: str
    """Unique in its benchmark, the same in every run; slashes are allowed: where the picture lies in a folder of pictures."""
    prompt: Prompt
    seed: int = 0
    """The run's seed is added to it."""
    references: tuple[Image.Image, ...] = ()
    """What the picture is compared with; need not be the prompt's images."""
    target: Image.Image | None = None
    text: str = ""
    """The caption that the picture should follow, without the words that introduce the references."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """For the report, for example ``{"category": "animal", "prompt_type": "imaginative"}``."""


@dataclass(frozen=True)
class Source:
    """A benchmark's data: a folder in the official layout, or the tiny built-in sample in the same layout."""

    folder: Path
    sample: bool = False

    def file(self, *parts: str) -> Path:
        """A file or folder of the data that must be there; ``ValueError`` names what is missing."""
        path = self.folder.joinpath(*parts)
        if not path.exists():
            raise ValueError(f"{self.folder}: expected {'/'.join(parts)} in it, which is not there")
        return path

    def checksum(self) -> str:
        """SHA-256 over the names and contents of all files, hexadecimal; hidden files do not count."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder)
            if path.is_file() and not any(part.startswith(".") for part in name.parts):
                with path.open("rb") as file:
                    digest.update(name.as_posix().encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class JudgeSettings:
    """Which judge is asked, and how; the command line's ``--judge-...`` options."""

    url: str = ""
    """An OpenAI-compatible endpoint, for example ``http://localhost:8000/v1``; empty: none is given."""
    model: str = "gpt-4o-2024-05-13"
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a key is never an argument and never written down."""
    rubrics: Path | None = None
    """Folder with the official prompt files; None: the rubrics in this package's own words."""
    rubric_setting: str = "full"
    """Ending of the official files' names: full, wo_internal_thinking, w_cot, ..."""
    passes: int = 3
    temperature: float = 1.0
    seed: int | None = None
    threads: int = 8
    timeout: float = 120.0
    """Seconds without an answer after which a question is asked again."""
    retries: int = 8
    """How often a judge that is busy or silent is asked again, with doubled pauses."""
    accept_unanswered: bool = False
    """Whether questions that it was too busy to answer count as failures; else the run ends, to be gone on with."""
    price_in: float = 0.0
    """Price of a million tokens read."""
    price_out: float = 0.0
    """Price of a million tokens written."""

    def described(self) -> dict[str, Any]:
        """What the scores depend on, JSON-ready; two addresses that serve a model of one name are one judge."""
        names = ("model", "rubric_setting", "passes", "temperature", "seed", "accept_unanswered")
        return {
            "kind": "endpoint" if "://" in self.url else self.url,
            "rubrics": None if self.rubrics is None else str(self.rubrics),
            **{name: getattr(self, name) for name in names},
        }


@dataclass(frozen=True)
class Tools:
    """What scoring may use."""

    source: Source
    cache: Path
    """Existing folder for features and judge's answers, kept between runs; files in it are named by content."""
    device: str = "cpu"
    preset: str | None = None
    """One of the benchmark's ``presets`` (backbones, definitions); None: its first."""
    backbones: Mapping[str, str] = field(default_factory=dict)
    """Role -> local folder or file, or hub id, in place of what the preset names; for example ``{"clip": "models/clip"}``."""
    judge: JudgeSettings = JudgeSettings()
    batch_size: int = 16
    seed: int = 0
    """Of everything random in scoring, such as bootstrap intervals."""
    progress: Progress | None = None


@dataclass(frozen=True)
class Record:
    """What became of one item: its numbers, or why it has none."""

    key: str
    groups: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None


@dataclass(frozen=True)
class Row:
    """A line of a table: a published result, by the same names as ``Benchmark.columns``; a number may be missing."""

    label: str
    numbers: Mapping[str, float]
    source: str = ""
    """Where it was published, for example ``paper, table 3``."""
    group: str = ""
    """Heading under which it stands, for example ``diffusion models``."""
    spread: Mapping[str, float] = field(default_factory=dict)
    """Standard deviations, where published."""


@dataclass(frozen=True)
class Scores:
    """The result of a benchmark.

    ``summary`` is JSON-ready. Its plain numbers are the headline (the names of ``Benchmark.columns`` are shown); beside
    them it may hold ``intervals`` {name: [low, high]} (95 %), ``std`` {name: number}, ``groups`` {kind of group: {group:
    {"items": count, name: number}}}, and anything else that ``run.json`` should keep.
    """

    records: list[Record]
    """One for each item, in the items' order; an item without picture or score has a ``failure``."""
    summary: dict[str, Any]
    backbones: dict[str, str]
    """What measured, by role, for example ``{"dino": "facebook/dino-vits8@<revision>"}``; a stand-in says that it is one."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the reader: choices, stand-ins, what the denominator is."""
    published: list[Row] = field(default_factory=list)


class Benchmark(Protocol):
    """What ``mentor evaluate`` asks of a benchmark."""

    name: str
    title: str
    columns: Mapping[str, str]
    """Names of the headline numbers and their headings, in the table's order."""
    presets: Sequence[str]
    """Named variants of backbones or definitions, the default first; empty: there is one only."""
    hub: str
    """Data set on the hub that holds the official data; empty: none is known."""

    def items(self, source: Source) -> list[Item]:
        """All items in the data's order. Raises ``ValueError`` for a folder of another layout or an unreadable file."""

    def check(self, tools: Tools) -> None:
        """Raises ``ValueError`` for what is wrong with ``tools`` and quick to see: it is called before hours of painting."""

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        """Score one picture an item; None: there is none. ``pictures`` may read from disk when indexed: index once.

        A failure of one item is its record's, not an exception; ``ValueError`` for what makes the whole run useless
        (no judge answers, a backbone that cannot be loaded), after keeping what is done in ``tools.cache``.
        """
