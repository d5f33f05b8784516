"""The sources of a recipe: each turns a record's number and a seed into an ``Example``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.config.sources import (
    CorpusOptions,
    LlavaOptions,
    Options,
    PairsOptions,
    PicturesOptions,
    ReleasedOptions,
    SourceConfig,
    X2IOptions,
)
from mentor.data.caption_formats import llava_example, pair_example
from mentor.data.corpus import Corpus
from mentor.data.example import BadRecord, Example, Peers
from mentor.data.finetune_source import PicturesSource
from mentor.data.mixture import Mixture
from mentor.data.record_numbers import instruction_numbers, target_numbers
from mentor.data.records import ArrowRecords, FolderRecords, Records
from mentor.data.released_format import released_example
from mentor.data.released_record import read_record
from mentor.data.shards import TASK_NAMES
from mentor.data.tar_records import TarRecords
from mentor.data.x2i_format import x2i_example


class Source(Protocol):
    """What samples are drawn from."""

    name: str

    def __len__(self) -> int:
        """Records; 0: endless, any number is one."""
        ...

    @property
    def held(self) -> str:
        """How much there is to draw from, in words: with more or less of it the samples are others."""
        ...

    def target_numbers(self) -> NDArray[np.int64]:
        """int64 [records]: a number for the picture that each draws, the same wherever the picture is drawn."""
        ...

    def example(self, record: int, seed: int, peers: Peers | None = None) -> Example:
        """The sample of a record, a pure function of both; ``BadRecord`` if it cannot be used.

        ``peers`` says which records the sample may also show (None: all), so that what is held out stays so.
        """
        ...


class CorpusSource:
    """Scenes of one split of the corpus, as many as anyone asks for; see ``Mixture``."""

    def __init__(self, mixture: Mixture) -> None:
        self.name, self.mixture = "corpus", mixture

    def __len__(self) -> int:
        return 0

    @property
    def held(self) -> str:
        return f"{len(self.mixture.corpus.cutouts)} cut-outs, {len(self.mixture.corpus.backgrounds)} backgrounds"

    def target_numbers(self) -> NDArray[np.int64]:
        return np.empty(0, np.int64)

    def example(self, record: int, seed: int, peers: Peers | None = None) -> Example:
        sample = self.mixture.sample(record)
        return Example(sample.prompt, sample.target, sample.task, sample.object_mask)


class RecordSource:
    """Records of one format; ``chosen`` int [n] are those that belong to it, all when it is None.

    ``instructions`` int [records] tell which of X2I have the same instruction, where examples are wanted.
    """

    def __init__(
        self,
        records: Records,
        options: Options,
        size: int,
        *,
        chosen: NDArray[np.int64] | None = None,
        backgrounds: Records | None = None,
        instructions: NDArray[np.int64] | None = None,
    ) -> None:
        self.name, self.records, self.options, self.size = records.name, records, options, size
        self.chosen, self.backgrounds, self.instructions = chosen, backgrounds, instructions

    def __len__(self) -> int:
        return len(self.records) if self.chosen is None else len(self.chosen)

    @property
    def held(self) -> str:
        return f"{len(self)} of {len(self.records)} records"

    def target_numbers(self) -> NDArray[np.int64]:
        numbers = target_numbers(self.records, self.options)
        return numbers if self.chosen is None else numbers[self.chosen]

    def example(self, record: int, seed: int, peers: Peers | None = None) -> Example:
        number = record if self.chosen is None else int(self.chosen[record])
        fields, read = self.records.open(number)
        match self.options:
            case ReleasedOptions():
                draw = None if self.backgrounds is None else partial(_background, self.backgrounds)
                return released_example(fields, read, seed, size=self.size, options=self.options, background=draw)
            case X2IOptions():
                solved = [self.records.open(other) for other in self._others(number, seed, peers)]
                return x2i_example(fields, read, size=self.size, options=self.options, solved=solved)
            case LlavaOptions():
                return llava_example(fields, read, seed, size=self.size, options=self.options)
            case PairsOptions():
                return pair_example(fields, read, seed, size=self.size, options=self.options)
        raise AssertionError(self.options)

    def _others(self, number: int, seed: int, peers: Peers | None) -> list[int]:
        """Numbers of other records with the same instruction, to be shown solved."""
        assert isinstance(self.options, X2IOptions)
        if self.instructions is None:
            return []
        alike = np.flatnonzero(self.instructions == self.instructions[number])
        alike = alike if peers is None else peers(alike)
        alike = alike[alike != number]
        if len(alike) < self.options.examples or self.instructions[number] < 0:
            raise BadRecord(f"found {len(alike)} other records with this instruction, wanted {self.options.examples}")
        chosen = np.random.default_rng([seed, 1]).choice(alike, self.options.examples, replace=False)
        return [int(other) for other in chosen]


Opened = dict[tuple[str, str, str | None], Records]
"""Kind, path and root -> records that are open already: sources that read the same share them, and their indexes."""


def open_source(config: SourceConfig, *, split: str, size: int, seed: int, opened: Opened | None = None) -> Source:
    """The source that a recipe names, with pictures of ``size`` pixels. ValueError if it is not there or holds nothing.

    ``split`` chooses the subjects of the corpus; other sources are divided by their targets (``SourceMixture``). ``opened`` is
    looked up and added to.
    """
    options, opened = config.resolved(), {} if opened is None else opened
    if isinstance(options, CorpusOptions):
        strict = split == "held_out"
        corpus = Corpus.load(config.path)
        split, recolour = ("test", 0.0) if strict else ("train", options.recolour)
        return CorpusSource(Mixture(corpus, options.tasks, split, size, seed, strict=strict, recolour=recolour))
    assert config.path is not None
    if isinstance(options, PicturesOptions):
        return PicturesSource(config.path, options, split=split, size=size)
    records = _records(config.kind, config.path, config.root, opened)
    chosen = backgrounds = instructions = None
    if isinstance(options, ReleasedOptions):
        chosen = _of_tasks(records, options)
        if options.backgrounds is not None and options.recovery and (not options.tasks or "recover" in options.tasks):
            root = config.root or str(Path(config.path).parent)
            backgrounds = _records("jsonl", str(Path(root) / options.backgrounds), root, opened)
    elif isinstance(options, X2IOptions) and options.examples:
        # Here, and not when the first is asked for: every worker would read the whole file.
        instructions = instruction_numbers(records)
    return RecordSource(records, options, size, chosen=chosen, backgrounds=backgrounds, instructions=instructions)


def _records(kind: str, path: str, root: str | None, opened: Opened) -> Records:
    key = (kind if kind in ("webdataset", "huggingface") else "file", path, root)
    if key not in opened:
        if kind == "webdataset":
            opened[key] = TarRecords(path)
        elif kind == "huggingface":
            opened[key] = ArrowRecords(path)
        else:
            opened[key] = FolderRecords(path, root)
    return opened[key]


def _of_tasks(records: Records, options: ReleasedOptions) -> NDArray[np.int64] | None:
    """Numbers of the records of the wanted tasks, with a share of those without any task, which drawing will reject."""
    if not options.tasks:
        return None
    unknown = set(options.tasks) - set(TASK_NAMES)
    if unknown:
        raise ValueError(f"options.tasks: unknown {', '.join(sorted(unknown))}; known: {', '.join(TASK_NAMES)}")
    tasks = records.derived(
        f"tasks{2 if options.recovery else 1}",
        lambda fields: TASK_NAMES.index(read_record(fields, recovery=options.recovery).task),
    )
    wanted = [TASK_NAMES.index(name) for name in options.tasks]
    if not np.isin(tasks, wanted).any():
        raise ValueError(f"{records.name} has no record of the tasks {', '.join(options.tasks)}")
    # Each belongs to one task by its number: were they in every source of the file, each would be counted several times.
    without = np.flatnonzero(tasks < 0)
    tasks = np.array(tasks)
    tasks[without] = without % len(TASK_NAMES)
    return np.flatnonzero(np.isin(tasks, wanted))


def _background(records: Records, rng: np.random.Generator) -> Image.Image:
    fields, read = records.open(int(rng.integers(len(records))))
    if not isinstance(fields, dict) or not isinstance(fields.get("input_image"), str):
        raise BadRecord(f"{records.name}: a background has no input_image")
    return read(fields["input_image"])
