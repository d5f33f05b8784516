"""The arguments of every benchmark of ``mentor evaluate``: whose pictures, of which data, measured by what."""

from __future__ import annotations

import argparse
from pathlib import Path

from mentor.cli.sampling_arguments import add_sampling_arguments, check_counts

BASELINES = ("copy_reference", "ignore_reference")


def add_evaluation_arguments(parser: argparse.ArgumentParser, *, scenes: bool) -> None:
    """Declare them, those of sampling among them; the scenes have a corpus for data, and are judged in one way alone."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results and pictures")
    parser.add_argument(
        "-n",
        type=int,
        metavar="N",
        help=f"score {'the first N prompts' if scenes else 'N items, one of each of N equal parts'} (default: "
        f"{240 if scenes else 'all'})",
    )
    if scenes:
        parser.add_argument("--corpus", type=Path, metavar="DIR", help="corpus pack (default: found as in training)")
        parser.add_argument("--sample", action="store_true", help="a few prompts alone")
        parser.add_argument(
            "--size",
            type=int,
            metavar="PX",
            help="side at which ready pictures, rivals and baselines are judged (default: 128, the mini's)",
        )
        parser.set_defaults(data=None, preset=None, backbone=[])
    else:
        _add_data_arguments(parser)
    author = parser.add_mutually_exclusive_group()
    author.add_argument("--pictures", type=Path, metavar="DIR", help="ready pictures, KEY.png or tgt_image/KEY.jpg")
    author.add_argument("--rival", metavar="NAME", help="diffusers:ID_OR_DIR, ip-adapter, ... or a YAML file")
    author.add_argument("--baseline", choices=BASELINES, help="a trivial answer in place of the model's")
    parser.add_argument(
        "--rival-set", action="append", default=[], metavar="KEY=VALUE", help="change a rival's setting, e.g. steps=20"
    )
    add_sampling_arguments(parser)
    parser.add_argument("--cache", type=Path, metavar="DIR", help="features and answers kept (default: OUT/cache)")


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--data", metavar="DIR", help="folder in the official layout, or hub, or hub:OWNER/NAME[@REVISION]"
    )
    data.add_argument("--sample", action="store_true", help="the few built-in items; offline, with stand-in backbones")
    parser.add_argument("--preset", metavar="NAME", help="one of the benchmark's backbones or definitions")
    parser.add_argument(
        "--backbone", action="append", default=[], metavar="ROLE=NAME", help="a local folder or hub name for a backbone"
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` for numbers that cannot be and arguments that do not fit each other."""
    check_counts(args)
    if args.rival_set and args.rival is None:
        raise ValueError("--rival-set: there is no --rival to change")
