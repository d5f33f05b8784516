"""The arguments of every command that draws pictures: which model, where it runs, and how it samples."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mentor.config.sampling import LARGEST_SEED, GenerationSettings

if TYPE_CHECKING:
    from mentor.evaluation.pictures import PipelinePainter
    from mentor.generation.pipeline import MentorPipeline


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --seed, --cfg-scale, --temperature, --top-k, --top-p, --batch-size, --model, --device and --dtype."""
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="picture i is drawn with SEED + i (benchmarks: docs/evaluation.md; default: %(default)s)",
    )
    numbers = {
        "--cfg-scale": (float, "guidance: 1 off, more follows the prompt more closely"),
        "--temperature": (float, "below 1 safer, above 1 wilder, 0 always the likeliest"),
        "--top-k": (int, "draw from the K likeliest tokens; 0: all"),
        "--top-p": (float, "draw from the likeliest tokens of this total probability; 1: all"),
    }
    for flag, (kind, text) in numbers.items():
        parser.add_argument(flag, type=kind, metavar="X", help=f"{text} (default: the model's own)")
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="B", help="pictures made side by side (default: %(default)s)"
    )
    add_model_arguments(parser)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare --model, --adapter, --adapter-scale, --device and --dtype."""
    parser.add_argument(
        "--model",
        default="mini",
        help="mini, a model folder or a hub name, owner/name[@revision] (default: %(default)s)",
    )
    parser.add_argument(
        "--adapter",
        action="append",
        default=[],
        metavar="NAME",
        help="adapters of a fine-tune, added to the model: their folder or a hub name; repeatable",
    )
    parser.add_argument(
        "--adapter-scale",
        action="append",
        type=float,
        default=[],
        metavar="X",
        help="strength of the adapters: once for all, or once for each in their order (default: 1)",
    )
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda where there is one)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="number format (default: float32, but the encoders of released models bfloat16)",
    )


def check_counts(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` for a seed, a batch size or a number of items that cannot be."""
    for flag, value, least in (("-n", args.n, 1), ("--batch-size", args.batch_size, 1)):
        if value is not None and value < least:
            raise ValueError(f"{flag}: expected {least} or more, got {value}")
    check_seed(args.seed)


def check_seed(seed: int) -> None:
    """Raise ``ValueError`` for a seed that no generator takes; what is added to it has room."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"--seed: expected a whole number from 0 to {LARGEST_SEED}, got {seed}")


def load_painter(args: argparse.Namespace) -> PipelinePainter:
    """The model that the arguments name, ready to draw; ``ValueError`` when there is none or a setting is out of range."""
    sampling = chosen_sampling(args)
    from mentor.evaluation.pictures import PipelinePainter

    pipeline = load_pipeline(args)
    return PipelinePainter(pipeline, model_name(args), pipeline.settings(**sampling))


def load_pipeline(args: argparse.Namespace) -> MentorPipeline:
    """The model that the arguments name, its adapters merged in; ``ValueError`` when one is not there."""
    adapters = list(zip(args.adapter, _adapter_scales(args), strict=True))
    from mentor.checkpoint.adapters import locate_adapter
    from mentor.checkpoint.hub import HubOptions
    from mentor.generation.pipeline import MentorPipeline

    found = [(locate_adapter(name, HubOptions()), scale) for name, scale in adapters]  # before the model is read
    pipeline = MentorPipeline.from_pretrained(args.model, device=args.device, dtype=args.dtype)
    for folder, scale in found:
        pipeline.load_adapter(folder, scale)
    return pipeline


def _adapter_scales(args: argparse.Namespace) -> list[float]:
    given, count = args.adapter_scale, len(args.adapter)
    if len(given) not in {0, 1, count} or (given and not count):
        raise ValueError(f"--adapter-scale: expected one for all {count} adapters or one for each, got {len(given)}")
    return given if len(given) == count else (given or [1.0]) * count


def model_name(args: argparse.Namespace) -> str:
    """The model with its adapters, as pictures and reports remember it."""
    pairs = zip(args.adapter, _adapter_scales(args), strict=True)
    return " + ".join([args.model, *(name if scale == 1 else f"{scale:g} x {name}" for name, scale in pairs)])


def chosen_sampling(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling settings that were typed, for ``MentorPipeline.settings``; ``ValueError`` for a number outside its range."""
    chosen = {name: getattr(args, name) for name in ("cfg_scale", "temperature", "top_k", "top_p")}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    GenerationSettings(**chosen)
    return chosen
