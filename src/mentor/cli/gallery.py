"""``mentor gallery``: the first held-out prompts as one picture, and the first ones of every other task as another."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from mentor.cli.progress import stage_progress
from mentor.cli.sampling_arguments import add_sampling_arguments, check_counts, chosen_sampling, load_painter
from mentor.generation.png_metadata import check_writable, write_pngs


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "gallery",
        help="make the gallery of held-out prompts",
        description="Write OUT with the first held-out prompts, and OUT with -tasks in its name with those of the other tasks.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="for example docs/images/gallery.png")
    parser.add_argument("-n", type=int, default=24, metavar="N", help="number of prompts (default: %(default)s)")
    parser.add_argument(
        "--per-task", type=int, default=6, metavar="N", help="samples of each task (default: %(default)s)"
    )
    add_sampling_arguments(parser)
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="corpus pack (default: found as in training)")


def run(args: argparse.Namespace) -> int:
    """Check the arguments, load, draw, write both sheets together."""
    check_counts(args)
    if args.per_task < 1:
        raise ValueError(f"--per-task: expected 1 or more, got {args.per_task}")
    tasks = args.out.with_name(f"{args.out.stem}-tasks{args.out.suffix}")
    check_writable([args.out, tasks])
    chosen_sampling(args)  # a mistake is told before the corpus is read
    from mentor.data.corpus import Corpus
    from mentor.evaluation.gallery import scene_gallery, task_gallery
    from mentor.evaluation.pictures import PictureStore, check_folder

    corpus, painter = Corpus.load(args.corpus), load_painter(args)
    with tempfile.TemporaryDirectory() as folder, stage_progress() as progress:
        check_folder(Path(folder))
        store = PictureStore(Path(folder), args.batch_size)
        sheets = [
            (args.out, scene_gallery(painter, corpus, store, n=args.n, seed=args.seed, progress=progress)),
            (tasks, task_gallery(painter, corpus, store, n=args.per_task, seed=args.seed, progress=progress)),
        ]
    record = {"model": painter.name, "fingerprint": painter.fingerprint, "seed": args.seed, **vars(painter.settings)}
    write_pngs([(path, sheet, record) for path, sheet in sheets])
    for path, sheet in sheets:
        print(f"{path}  ({sheet.width} x {sheet.height})")
    return 0
