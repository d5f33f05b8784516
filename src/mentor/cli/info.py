"""``mentor info``: how a picture was made, or what a model consists of."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.generation.png_metadata import read_metadata

if TYPE_CHECKING:
    from mentor.checkpoint.store import Bundle


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "info",
        help="show how a picture was made, or what a model consists of",
        description="Show the prompt, seed and settings inside a PNG, or the parts of a model and their parameters.",
    )
    parser.add_argument("what", nargs="?", default="mini", help="a PNG, or: mini, a bundle's folder, a hub name")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what is known about ``args.what``."""
    path = Path(args.what)
    if path.is_file() or path.suffix.lower() == ".png":
        values = read_metadata(path)
        print(json.dumps(values, indent=2) if args.json else _lines(values))
        return 0
    from mentor.checkpoint.store import load_bundle

    values = describe(load_bundle(args.what))
    print(json.dumps(values, indent=2) if args.json else _table(values))
    return 0


def describe(bundle: Bundle) -> dict[str, Any]:
    """A model's boxes, in the order of the paper's figure: name -> what it is and how many parameters it has."""
    config, mentor = bundle.config, bundle.mentor
    vision, language, decoder, tokenizer = config.vision, config.language, config.decoder, config.image_tokenizer
    boxes = {
        "vision tower": (
            mentor.encoder.vision,
            f"{vision.kind}, frozen, {vision.tokens_per_image} tokens an image of {vision.image_size} px",
        ),
        "connector": (mentor.encoder.connector, config.connector.kind),
        "language encoder": (
            mentor.encoder.language,
            f"{language.kind}, {language.num_layers} layers x {language.width}",
        ),
        "projector": (mentor.projector, f"{language.width} -> {decoder.width}"),
        "decoder": (
            mentor.decoder,
            f"{decoder.num_layers} layers x {decoder.width}, {decoder.num_tokens} image tokens a picture",
        ),
        "image tokenizer": (
            bundle.image_tokenizer,
            f"{tokenizer.backbone}, {tokenizer.downsample} px a token, {tokenizer.codebook_size} codes",
        ),
    }
    parts = {
        name: {"what": what, "parameters": sum(weight.numel() for weight in module.parameters())}
        for name, (module, what) in boxes.items()
    }
    parts["null condition"] = {"what": "stands in for a dropped prompt", "parameters": mentor.null_condition.numel()}
    return {
        "name": config.name,
        "image_size": config.image_size,
        "context": config.context,
        "parameters": sum(part["parameters"] for part in parts.values()),
        "parts": parts,
    }


def _table(values: dict[str, Any]) -> str:
    rows = [(name, f"{part['parameters']:,}", part["what"]) for name, part in values["parts"].items()]
    rows.append(("all", f"{values['parameters']:,}", ""))
    names, numbers = (max(len(row[column]) for row in rows) for column in (0, 1))
    title = f"{values['name']}: pictures of {values['image_size']} px, prompts of at most {values['context']} tokens"
    return "\n".join([title, *(f"  {a:<{names}}  {b:>{numbers}}  {c}".rstrip() for a, b, c in rows)])


def _lines(values: dict[str, Any]) -> str:
    width = max(map(len, values), default=0)
    return "\n".join(f"{name:<{width}}  {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return " ".join(map(str, value.values()))
    return repr(value) if isinstance(value, str) and "\n" in value else str(value)
