"""``mentor generate``: text and reference images in, PNG files out."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.cli.progress import token_progress
from mentor.cli.sampling_arguments import (
    add_sampling_arguments,
    check_seed,
    chosen_sampling,
    load_pipeline,
    model_name,
)
from mentor.generation.grid import grid
from mentor.generation.png_metadata import check_writable, how_made, write_pngs
from mentor.generation.prompting import TASKS, build_prompt
from mentor.prompt import IMAGE_PLACEHOLDER

MOST_IMAGES = 1000
"""More in one call is a slip of the finger; several calls make more."""


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "generate",
        help="make pictures from text and reference images",
        description="Make pictures from a text and, if given, reference images.",
        epilog='examples: mentor generate "a red fox on a beach" -o fox.png | '
        'mentor generate "on a beach at sunset" --image ref.png --subject fox -n 4 --grid -o foxes.png',
    )
    parser.add_argument("text", nargs="?", default="", help="what to show; <image> marks where a reference image goes")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("mentor.png"), help="PNG to write (default: %(default)s)"
    )
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="reference image; repeatable")
    parser.add_argument(
        "--subject", action="append", metavar="NOUN", help="what matters in the image; one for each --image"
    )
    parser.add_argument("--task", choices=TASKS, help="template for the prompt (default: by what is given)")
    parser.add_argument("-n", "--num-images", type=int, default=1, metavar="N", help="pictures to make (default: 1)")
    parser.add_argument("--grid", action="store_true", help="one file with all pictures side by side")
    add_sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check everything that can be checked, then load the model, generate and write."""
    if not 1 <= args.num_images <= MOST_IMAGES:
        raise ValueError(f"-n: expected 1 to {MOST_IMAGES} pictures, got {args.num_images}")
    if args.batch_size < 1:
        raise ValueError(f"--batch-size: expected 1 or more, got {args.batch_size}")
    check_seed(args.seed)
    if args.image and 0 < len(args.text) < 256 and Path(args.text).is_file():
        raise ValueError(f"the text {args.text!r} is a file: write --image before each picture")
    sampling = chosen_sampling(args)
    single = args.grid or args.num_images == 1
    paths = [args.output] if single else numbered(args.output, args.num_images)
    check_writable(paths)
    prompt = build_prompt(args.text, args.image, task=args.task, subject=args.subject)
    if args.task is None and args.text and args.image and not args.subject and IMAGE_PLACEHOLDER not in args.text:
        print(
            "note: drawn as a reconstruction of the image; to see what it shows in another picture, name it with --subject",
            file=sys.stderr,
        )
    images = [{"file": Path(each).name, "sha256": _sha256(each)} for each in args.image]  # as they are now

    # Only now the heavy part: every mistake above is told at once.
    from mentor.generation.pipeline import over_batches

    pipeline = load_pipeline(args)
    settings = pipeline.settings(**sampling)
    record = partial(how_made, model_name(args), prompt.text, images, settings, pipeline.dtype, pipeline.device.type)
    made: list[Image.Image] = []
    seeds = range(args.seed, args.seed + args.num_images)
    batches = -(-len(seeds) // args.batch_size)
    with token_progress("generating") as on_token:
        for number in range(batches):
            part = slice(number * args.batch_size, (number + 1) * args.batch_size)
            made += pipeline(
                prompt,
                num_images=len(seeds[part]),
                seed=seeds[part][0],
                batch_size=args.batch_size,
                on_token=over_batches(on_token, number, batches),
                **sampling,
            ).images
            if not single:  # what is done stays when the rest is given up
                _write([(paths[i], made[i], [seeds[i]]) for i in range(len(seeds))[part]], record)
    if single:
        _write([(args.output, grid(made), list(seeds))], record)
    return 0


def _write(pictures: Sequence[tuple[Path, Image.Image, list[int]]], record: Callable[..., dict[str, Any]]) -> None:
    write_pngs([(path, image, record(seeds)) for path, image, seeds in pictures])
    for path, _, seeds in pictures:
        print(f"{path}  (seed {', '.join(map(str, seeds))})", flush=True)


def numbered(path: Path, count: int) -> list[Path]:
    """fox.png -> fox-0.png, fox-1.png, ..."""
    return [path.with_name(f"{path.stem}-{index}{path.suffix}") for index in range(count)]


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
