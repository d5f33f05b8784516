"""``mentor retokenize``: a trained model goes over to another image tokenizer, to be trained further on its codes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from mentor.data.prepared import Samples

BATCH = 64


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the main parser."""
    parser = subparsers.add_parser(
        "retokenize",
        help="give a trained model another image tokenizer",
        description="Give a trained model another image tokenizer. Train its decoder further before it draws as well.",
    )
    parser.add_argument("model", help="a model's folder or name")
    parser.add_argument("image_tokenizer", help="`final` of a tokenizer's run, or a model's folder or name")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder to write")
    parser.add_argument(
        "--recipe",
        default="mini-128/ladder",
        help="its training pictures tell which codes mean the same (default: %(default)s)",
    )
    parser.add_argument("--pictures", type=int, default=8192, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def run(args: argparse.Namespace) -> int:
    """Counts and writes; raises ValueError for what is not there, grids that differ and a recipe without pictures."""
    from mentor.checkpoint.layout import check_target
    from mentor.checkpoint.store import load_bundle, load_image_tokenizer
    from mentor.cli.progress import stage_progress
    from mentor.config.recipes import load_recipe
    from mentor.data.processor import Processor
    from mentor.data.recipe_samples import recipe_samples
    from mentor.nn.device import resolve_device
    from mentor.training.retokenize import count_codes, retokenized

    if args.pictures < 1:
        raise ValueError(f"--pictures: expected 1 or more, got {args.pictures}")
    check_target(args.out)
    config, device = load_recipe(args.recipe, []), resolve_device(args.device)
    bundle, image_tokenizer = load_bundle(args.model), load_image_tokenizer(args.image_tokenizer)
    processor = Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer)
    rejects = Path(config.data.rejects or args.out.with_name(f"{args.out.name}-rejects.jsonl"))
    samples = recipe_samples(config.data, config.seed, processor, rejects)["train"]
    with stage_progress() as stage:
        batches = (pixels.to(device) for pixels in _pixels(samples, args.pictures, stage))
        counts = count_codes(bundle.image_tokenizer.to(device), image_tokenizer.to(device), batches)
    written = retokenized(bundle, image_tokenizer.cpu(), counts)
    print(written.save_with(written.mentor, args.out))
    return 0


def _pixels(samples: Samples, count: int, stage: Callable[[str, int, int], None]) -> Iterator[Tensor]:
    """The targets of the first ``count`` samples, [B, 3, R, R] at a time."""
    from mentor.data.pixels import picture_pixels

    for first in range(0, count, BATCH):
        last = min(first + BATCH, count)
        yield picture_pixels([samples.sample(index).target for index in range(first, last)])
        stage("pictures compared", last, count)
