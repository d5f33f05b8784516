"""``mentor probe``: which layer of the vision trunk keeps most of a picture, at which input size and number of tokens."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "probe",
        help="measure what a vision layer keeps of an image",
        description="Rebuild held-out pictures from the tokens of EfficientNet-Lite0, read in several ways; prints a table.",
    )
    parser.add_argument("--corpus", type=Path, help="folder of the corpus pack (default: found as in training)")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "mentor" / "wheels", help="folder of wheels"
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        default=["3", "5", "8", "11", "15", "5+11"],
        metavar="N[+N]",
        help="blocks run; + joins maps",
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[96, 128, 160], help="input sides in pixels")
    parser.add_argument("--tokens", nargs="+", type=int, default=[16], help="tokens an image")
    parser.add_argument("--pictures", type=int, default=1200, help="pictures to fit on; a quarter as many to score on")
    parser.add_argument(
        "--steps", type=int, default=200, help="training steps of the network head; 0: linear head only"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="also write the table, in Markdown, to this file")


def run(args: argparse.Namespace) -> int:
    """Print the table, one row a candidate, as they are done."""
    from mentor.construction.towers import vision_state, wheel_member
    from mentor.data.corpus import Corpus
    from mentor.evaluation.probe import Probe, candidates
    from mentor.evaluation.probe_pictures import pictures_of
    from mentor.models.vision import EfficientNetTower

    for flag, value in [*(("--tokens", n) for n in args.tokens), *(("--sizes", n) for n in args.sizes)]:
        if value < 1:
            raise ValueError(f"{flag}: expected 1 or more, got {value}")
    chosen = candidates([_layers(text) for text in args.layers], args.sizes, args.tokens)
    if not chosen:
        raise ValueError(f"no map of layers {args.layers} at {args.sizes} px can be cut into {args.tokens} tokens")
    corpus = Corpus.load(args.corpus)
    pickled = wheel_member("vision", args.cache)

    def tower(config: Any) -> EfficientNetTower:
        built = EfficientNetTower(config)
        built.load_state_dict(vision_state(pickled, config.layers))
        return built

    train = pictures_of(corpus.split("train"), args.pictures, args.seed)
    test = pictures_of(corpus.split("test"), max(8, args.pictures // 4), args.seed + 1)
    probe = Probe(tower, train, test, steps=args.steps, seed=args.seed)
    titles = ["layers", "input px", "tokens", "width", "linear dB", "network dB", "on the subject dB", "category", "ms"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    print("\n".join(lines), flush=True)
    for size in args.sizes:
        of_size = [candidate for candidate in chosen if candidate.image_size == size]
        if of_size:
            probe.prepare([layer for candidate in of_size for layer in candidate.layers], size)
        for candidate in of_size:
            score = probe.score(candidate, network=args.steps > 0)
            lines.append(_row(score))
            print(lines[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split("+"))
    except ValueError:
        raise ValueError(f"--layers takes numbers of blocks such as 5 or 5+11, got {text!r}") from None


def _row(score: Any) -> str:
    candidate = score.candidate
    layers = "+".join(str(layer) for layer in candidate.layers)
    values = [f"{value:.2f}" if value is not None else "" for value in (score.linear, score.mlp, score.mlp_subject)]
    cells = [layers, candidate.image_size, candidate.tokens, candidate.width, *values]
    cells += [f"{score.category:.2f}", f"{score.milliseconds:.1f}"]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
