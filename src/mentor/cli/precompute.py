"""``mentor precompute``: turns the data of a recipe into training shards for a recipe."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mentor.cli.shares import add_share_argument, read_share

if TYPE_CHECKING:
    from mentor.config.run import TrainConfig


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the main parser."""
    parser = subparsers.add_parser(
        "precompute", help="turn data into training shards", description="Draw a recipe's samples and store them."
    )
    parser.add_argument("recipe", help="a name from `mentor recipes`, or a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="single values, for example data.samples=1000"
    )
    parser.add_argument("--out", type=Path, help="folder of the shards; default: the recipe's data.shards")
    parser.add_argument("--workers", type=int, default=2, help="processes that compose pictures (default: 2)")
    parser.add_argument("--shard-size", type=int, default=2048, help="samples in one file (default: 2048)")
    add_share_argument(parser, "of the files, so that N processes, each on its own device, make them together")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def run(args: argparse.Namespace) -> int:
    """Writes the shards that are not there yet; raises ValueError for mistakes in the recipe or the data."""
    from mentor.config.recipes import load_recipe

    for flag, value, least in (("--shard-size", args.shard_size, 1), ("--workers", args.workers, 0)):
        if value < least:
            raise ValueError(f"{flag}: expected {least} or more, got {value}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "one process makes shards on one device: start it without torchrun or accelerate launch; several divide the "
            "work with --share"
        )
    share = read_share(args.share)
    config = load_recipe(args.recipe, args.overrides)
    if config.objective != "mentor":
        raise ValueError(
            f"recipe {config.name} trains the {config.objective}, which composes its pictures while it trains"
        )
    out = args.out or (Path(config.data.shards) if config.data.shards else None)
    if out is None:
        raise ValueError("--out FOLDER is needed: the recipe names no data.shards")
    make_shards(config, out, workers=args.workers, shard_size=args.shard_size, device=args.device, share=share)
    print(out)
    return 0


def make_shards(
    config: TrainConfig,
    out: Path,
    *,
    workers: int,
    shard_size: int = 2048,
    device: str = "auto",
    share: tuple[int, int] = (0, 1),
) -> None:
    """Writes the recipe's samples to ``out``, or a share of their files; see ``mentor.data.precompute``."""
    from rich.console import Console

    from mentor.data.precompute import Encoders, precompute
    from mentor.data.processor import Processor
    from mentor.data.recipe_samples import recipe_samples
    from mentor.data.rejects import read_rejects
    from mentor.nn.device import resolve_device
    from mentor.training.start import origin_of, starting_bundle

    bundle, place = starting_bundle(config), resolve_device(device)
    encoder, image_tokenizer = bundle.mentor.encoder.to(place), bundle.image_tokenizer.to(place)
    processor = Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer)
    encoders = Encoders.of(image_tokenizer, encoder, processor, place)
    console, rejects = Console(stderr=True), Path(config.data.rejects or out / "rejects.jsonl")
    precompute(
        out,
        recipe_samples(config.data, config.seed, encoders.processor, rejects),
        {"train": config.data.samples, "held_out": config.data.held_out},
        encoders,
        origin_of(config, bundle),
        shard_size=shard_size,
        workers=workers,
        share=share,
        progress=lambda split, done, total: console.print(f"{split}: {done:,} of {total:,}", highlight=False),
    )
    broken = len(read_rejects(rejects))
    if broken:
        drawn = config.data.samples + config.data.held_out
        console.print(f"broken records: {broken:,} ({broken / (drawn + broken):.2%} of those drawn), see {rejects}")
