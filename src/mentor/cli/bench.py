"""``mentor bench``: what one picture costs on this CPU, part by part, against what its memory allows."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.cli.progress import token_progress
from mentor.cli.sampling_arguments import check_seed
from mentor.config.load import load_yaml
from mentor.config.model import MentorConfig
from mentor.config.presets import PRESETS
from mentor.config.sampling import GenerationSettings

if TYPE_CHECKING:
    from mentor.generation.pipeline import MentorPipeline
    from mentor.prompt import Prompt

WORDS = 30
"""Words of the prompt, beside the reference image; fewer where the model's context has no room for them."""


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "bench",
        help="measure what one picture costs on this CPU",
        description="Make one picture from a prompt with a reference image, and tell peak memory, the seconds of each part, "
        "and how near decoding comes to the bound: the time it takes to read all weights once.",
        epilog="examples: mentor bench | mentor bench xl --random-weights --json | "
        "mentor bench xl --random-weights --tokens 64",
    )
    parser.add_argument(
        "model",
        nargs="?",
        default="mini",
        help=f"mini, a model folder or a hub name; with --random-weights a preset: {', '.join(PRESETS)}",
    )
    parser.add_argument("--random-weights", action="store_true", help="build a preset, for which no file is needed")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a model's configuration instead of a preset")
    parser.add_argument("--tokens", type=int, metavar="N", help="stop after N image tokens (default: a whole picture)")
    parser.add_argument(
        "--cfg-scale",
        type=float,
        metavar="X",
        help="guidance; 1: none, and half the sequences (default: the model's own)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="number format (default: bfloat16 for random weights, else as the model comes)",
    )
    parser.add_argument("--threads", type=int, metavar="T", help="threads (default: as many as PyTorch takes)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="decode with PyTorch alone, without the native kernels")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Check the arguments, load or build the model, measure, print."""
    config = _random_config(args)
    chosen = {} if args.cfg_scale is None else {"cfg_scale": args.cfg_scale}
    GenerationSettings(**chosen)  # a number out of range is told before anything is loaded
    check_seed(args.seed)
    if args.threads is not None and args.threads < 1:
        raise ValueError(f"--threads: expected 1 or more, got {args.threads}")

    import torch

    import mentor.generation.random_model  # noqa: F401  (loading is to be timed, not importing)
    from mentor.generation.benchmark import benchmark, check_tokens
    from mentor.nn.native.library import plain

    if args.tokens is not None and config is not None:  # told before the model is built
        check_tokens(args.tokens, config.decoder.num_tokens)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads or before)
    try:
        with plain() if args.plain else contextlib.nullcontext():
            start = time.perf_counter()
            pipeline = _pipeline(args, config)
            load = time.perf_counter() - start
            prompt, settings = example_prompt(pipeline.config), pipeline.settings(**chosen)
            with token_progress("decoding") as on_token:
                values = benchmark(pipeline, prompt, settings, seed=args.seed, tokens=args.tokens, on_token=on_token)
    finally:
        torch.set_num_threads(before)
    values["seconds"] = {"load": round(load, 3), **values["seconds"]}
    values = {"model": pipeline.config.name, "random_weights": args.random_weights, **values}
    if args.random_weights:
        values["note"] = "random weights: the prompt's ids are made up, since there is no text tokenizer"
    print(json.dumps(values, indent=2) if args.json else _lines(values))
    return 0


def example_prompt(config: MentorConfig) -> Prompt:
    """Some words and, where the model reads images, a reference image drawn here."""
    from PIL import Image, ImageDraw

    from mentor.prompt import IMAGE_PLACEHOLDER, Prompt

    room = config.context - config.tokens_per_image
    text = " ".join(["fox"] * max(1, min(WORDS, room // 2)))  # a tokenizer adds tokens of its own
    if config.vision is None:
        return Prompt(text)
    side = config.vision.image_size
    picture = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    ImageDraw.Draw(picture).ellipse((side // 4, side // 4, side * 3 // 4, side * 3 // 4), fill=(200, 60, 20))
    return Prompt(f"{IMAGE_PLACEHOLDER} {text}", [picture])


def _random_config(args: argparse.Namespace) -> MentorConfig | None:
    """The configuration to build with random weights; None for a model that is to be loaded."""
    if not args.random_weights:
        if args.config is not None:
            raise ValueError("--config describes a model without weights: add --random-weights")
        if args.model in PRESETS and not Path(args.model).is_dir():
            raise ValueError(f"{args.model} is a preset, for which no weights are here: add --random-weights")
        return None
    if args.config is not None:
        return load_yaml(args.config, MentorConfig)
    if args.model not in PRESETS:
        raise ValueError(f"--random-weights builds a preset, not {args.model!r}; known: {', '.join(PRESETS)}")
    return PRESETS[args.model]


def _pipeline(args: argparse.Namespace, config: MentorConfig | None) -> MentorPipeline:
    from mentor.generation.pipeline import MentorPipeline
    from mentor.generation.random_model import random_bundle
    from mentor.nn.device import resolve_dtype

    if config is None:
        return MentorPipeline.from_pretrained(args.model, device="cpu", dtype=args.dtype)
    return MentorPipeline(random_bundle(config, resolve_dtype(args.dtype or "bfloat16")), device="cpu")


def _lines(values: dict[str, Any]) -> str:
    seconds, memory, settings = values["seconds"], values["memory"], values["settings"]
    width, height = values["image_size"]
    whole = "" if values["complete"] else ", not a whole picture"
    rows = {
        "model": f"{values['model']}{', random weights' if values['random_weights'] else ''}, {settings['dtype']}, "
        f"{settings['condition_tokens']} condition tokens, guidance {settings['cfg_scale']:g}",
        "peak memory": f"{values['peak_rss_gb']:.2f} GB",
        "load": f"{seconds['load']:.2f} s",
        "encode": f"{seconds['encode']:.2f} s",
        "prefill": f"{seconds['prefill']:.2f} s",
        "per token": f"{values['ms_per_token']:.2f} ms, {values['image_tokens']} tokens in "
        f"{seconds['prefill'] + seconds['tokens']:.1f} s{whole}",
        "decode": f"{seconds['decode']:.2f} s, {width} x {height} pixels",
        "memory gives": f"{memory['bandwidth_gb_per_s']:.1f} GB/s: the {memory['weights_gb_per_token']:.3f} GB of weights that "
        f"a token needs in {values['ms_to_read_weights']:.2f} ms",
        "decoding takes": f"{values['ratio_to_weight_streaming']:.2f} x that; with {memory['cache_gb_per_token']:.3f} GB of "
        f"keys and values it is {memory['share_of_bandwidth']:.0%} of the bandwidth",
        "by": f"{settings['decoding_by']}, {settings['threads']} threads, torch {settings['torch']}, {settings['cpu']}",
    }
    if "note" in values:
        rows["note"] = values["note"]
    longest = max(map(len, rows))
    return "\n".join(f"{name:<{longest}}  {text}" for name, text in rows.items())
