"""The arguments of the commands that let a model draw held-out prompts (``evaluate``, ``gallery``), and what they name."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mentor.cli.sampling_arguments import add_sampling_arguments, chosen_sampling

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus
    from mentor.evaluation.answers import PipelinePainter


@dataclass(frozen=True)
class Loaded:
    """A model ready to draw and the corpus that it is judged on."""

    painter: PipelinePainter
    corpus: Corpus
    pack: Path
    """Folder of the corpus."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, corpus and seed, and how pictures are sampled."""
    add_sampling_arguments(parser)
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="corpus pack (default: found as in training)")


def check_counts(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` for a seed, a batch size or a number of prompts that cannot be."""
    for flag, value, least in (("-n", args.n, 1), ("--batch-size", args.batch_size, 1), ("--seed", args.seed, 0)):
        if value < least:
            raise ValueError(f"{flag}: expected {least} or more, got {value}")


def load(args: argparse.Namespace) -> Loaded:
    """The corpus and the model that the arguments name; ``ValueError`` when one is missing or a setting out of range."""
    sampling = chosen_sampling(args)
    from mentor.data.corpus import Corpus, find_pack

    pack = find_pack(args.corpus)
    corpus = Corpus.load(pack)

    from mentor.evaluation.answers import PipelinePainter
    from mentor.generation.pipeline import MentorPipeline

    pipeline = MentorPipeline.from_pretrained(args.model, device=args.device, dtype=args.dtype)
    return Loaded(PipelinePainter(pipeline, args.model, pipeline.settings(**sampling)), corpus, pack)
