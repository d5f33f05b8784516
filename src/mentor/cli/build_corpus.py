"""``mentor build-corpus``: fetch and render the corpus that scenes are composed from."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

PACKS = ("permissive", "share-alike", "gpl")


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "build-corpus",
        help="fetch and render the training corpus",
        description="Make a corpus pack from pinned packages, fetched with npm and apt-get unless the cache has them.",
    )
    parser.add_argument("--pack", choices=PACKS, default="permissive", help="which licences the pack may hold")
    parser.add_argument("--out", type=Path, default=Path("corpus"), help="folder of the pack (default: corpus)")
    parser.add_argument(
        "--cache", type=Path, default=Path("corpus-cache"), help="folder of the packages (default: corpus-cache)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")


def run(args: argparse.Namespace) -> int:
    """Build the pack and print the number of images per source."""
    from mentor.construction.build_corpus import build_corpus

    if args.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, not {args.jobs}")

    def told(source: str, count: int) -> None:
        print(f"{source}: {count} images", file=sys.stderr, flush=True)

    counts = build_corpus(args.out, args.pack, cache=args.cache, jobs=args.jobs, on_source=told)
    print(f"{args.out}: {sum(counts.values())} images from {len(counts)} sources")
    return 0
