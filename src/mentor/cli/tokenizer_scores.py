"""``mentor evaluate tokenizer``: how well an image tokenizer gives held-out pictures back, and which of its codes it uses."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mentor.cli.sampling_arguments import check_seed

SMALLEST = 32
"""Side in pixels of the smallest picture that ST-LPIPS can measure."""
_COLUMNS = {
    "psnr": ("PSNR dB", "{:.2f}"),
    "psnr_plain": ("plain backgrounds", "{:.2f}"),
    "psnr_photo": ("photos", "{:.2f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "st_lpips": ("ST-LPIPS", "{:.3f}"),
    "codes_used": ("codes used", "{:.1%}"),
    "perplexity": ("perplexity", "{:.0f}"),
}


def add_tokenizer_parser(kinds: Any) -> None:
    """Declare the command among the benchmarks."""
    parser = kinds.add_parser(
        "tokenizer", help="an image tokenizer on held-out scenes: PSNR, SSIM, ST-LPIPS, codes used"
    )
    parser.add_argument(
        "--model", default="mini", help="a model, or the final folder of a tokenizer's run (default: %(default)s)"
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=[64, 96, 128],
        metavar="PX",
        help="sides of the pictures (default: 64 96 128)",
    )
    parser.add_argument("-n", type=int, default=192, metavar="N", help="pictures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the scenes (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="corpus pack (default: found as in training)")
    parser.add_argument("--out", type=Path, metavar="JSON", help="also write the numbers to this file")


def tokenizer_rows(args: argparse.Namespace) -> list[list[str]]:
    """The table to print, header first; a dash where no picture has a background of that kind.

    ValueError for an unknown model, a size that its grid does not divide, and numbers that cannot be.
    """
    check_seed(args.seed)
    if min(args.sizes) < SMALLEST:
        raise ValueError(f"--sizes: expected {SMALLEST} pixels or more, got {min(args.sizes)}")
    if args.out is not None and not args.out.absolute().parent.is_dir():
        raise ValueError(f"--out: there is no folder {args.out.parent}; make it first")
    from mentor.checkpoint.store import load_image_tokenizer
    from mentor.data.corpus import Corpus
    from mentor.evaluation.results import provenance, write_json
    from mentor.evaluation.tokenizer import evaluate_tokenizer

    tokenizer = load_image_tokenizer(args.model)
    scores = evaluate_tokenizer(tokenizer, Corpus.load(args.corpus), sizes=args.sizes, count=args.n, seed=args.seed)
    if args.out is not None:
        described = {"model": args.model, "pictures": args.n, "seed": args.seed, "versions": provenance()}
        write_json(args.out, described | {"sizes": scores})
    rows = [["px", *(heading for heading, _ in _COLUMNS.values())]]
    for size, found in scores.items():
        rows.append(
            [size, *(text.format(found[name]) if name in found else "-" for name, (_, text) in _COLUMNS.items())]
        )
    return rows
