"""The arguments of every command that draws pictures: which model, where it runs, and how it samples."""

from __future__ import annotations

import argparse

from mentor.generation.settings import GenerationSettings


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --seed, --cfg-scale, --temperature, --top-k, --top-p, --model, --device and --dtype."""
    default = GenerationSettings
    parser.add_argument("--seed", type=int, default=0, help="picture i is drawn with SEED + i (default: %(default)s)")
    numbers = {
        "--cfg-scale": (float, "guidance: 1 off, more follows the prompt more closely"),
        "--temperature": (float, "below 1 safer, above 1 wilder, 0 always the likeliest"),
        "--top-k": (int, "draw from the K likeliest tokens; 0: all"),
        "--top-p": (float, "draw from the likeliest tokens of this total probability; 1: all"),
    }
    for flag, (kind, text) in numbers.items():
        value = getattr(default, flag.removeprefix("--").replace("-", "_"))
        parser.add_argument(flag, type=kind, default=value, metavar="X", help=f"{text} (default: %(default)s)")
    parser.add_argument("--model", default="mini", help="mini, a bundle's folder or a hub name (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda where there is one)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="number format (default: float32)")


def sampling_settings(args: argparse.Namespace) -> GenerationSettings:
    """What the arguments ask for; ``ValueError`` for a number outside its range."""
    return GenerationSettings(args.cfg_scale, args.temperature, args.top_k, args.top_p)
