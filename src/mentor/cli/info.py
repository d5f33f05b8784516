"""``mentor info``: how a picture was made, or what a model consists of."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mentor.config.model import MentorConfig
from mentor.config.presets import PRESETS
from mentor.generation.png_metadata import read_metadata


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "info",
        help="show how a picture was made, or what a model consists of",
        description="Show the prompt, seed and settings inside a PNG, or the parts of a model and their parameters, which "
        "are counted from its configuration: no weights are read.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        default="mini",
        help=f"a PNG, or: mini, a model folder, a hub name, a preset ({', '.join(PRESETS)})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what is known about ``args.what``."""
    path = Path(args.what)
    if path.is_file() or path.suffix.lower() == ".png":
        values = read_metadata(path)
        print(json.dumps(values, indent=2) if args.json else _lines(values))
        return 0
    values = describe(PRESETS[args.what]) if args.what in PRESETS else _describe_bundle(args.what)
    print(json.dumps(values, indent=2) if args.json else _table(values))
    return 0


def describe(config: MentorConfig) -> dict[str, Any]:
    """A model's sizes and its boxes, in the order of the paper's figure; ``parameters["total"]`` is the sum of the others.

    The image tokenizer is trained apart and counted apart. ValueError for a configuration that no model can have.
    """
    from mentor.models.size import count_image_tokenizer, count_parameters

    sizes = count_parameters(config)
    return {
        "name": config.name,
        "image_size": config.image_size,
        "image_tokens": config.decoder.num_tokens,
        "context": config.context,
        "tokens_per_image": config.tokens_per_image,
        "dtypes": {"encoder": config.encoder_dtype, "rest": "float32"},
        "parameters": {"total": sum(sizes.values()), **sizes},
        "image_tokenizer_parameters": count_image_tokenizer(config.image_tokenizer),
        "parts": _parts(config),
    }


def _parts(config: MentorConfig) -> dict[str, str]:
    language, decoder, tokenizer = config.language, config.decoder, config.image_tokenizer
    parts = {}
    if config.vision is not None and config.connector is not None:
        vision = config.vision
        parts["vision_tower"] = f"{vision.kind}, frozen, {vision.tokens_per_image} tokens of {vision.image_size} px"
        parts["connector"] = f"{config.connector.kind}, {config.tokens_per_image} tokens an image"
    rows = f"{config.context} rows for a dropped prompt"
    frozen = f", frozen: {config.context * language.width:,} values that are no parameters"
    return parts | {
        "language_encoder": f"{language.kind}, {language.num_layers} layers x {language.width}",
        "projector": f"{language.width} -> {config.projector.hidden or decoder.width} -> {decoder.width}",
        "decoder": f"{decoder.num_layers} layers x {decoder.width}, {decoder.num_tokens:,} image tokens a picture",
        "null_condition": rows + (frozen if config.null_condition == "frozen" else ", learned"),
        "image_tokenizer": f"{tokenizer.backbone}, {tokenizer.downsample} px a token, {tokenizer.codebook_size:,} codes",
    }


def _describe_bundle(name: str) -> dict[str, Any]:
    from mentor.checkpoint.hub import HubOptions, here, locate
    from mentor.checkpoint.layout import read_config, shipped_models
    from mentor.checkpoint.released import RAW

    lies_here = name in shipped_models() or here(name) is not None
    raw = RAW.get(name.partition("@")[0])
    if raw is not None and not lies_here:  # no configuration lies there, but which model it is is known
        return describe(PRESETS[raw.preset])
    try:
        folder = locate(name, HubOptions(), only_config=True)
    except ValueError as error:
        if "/" in name:
            raise
        raise ValueError(f"{error}; or a preset: {', '.join(PRESETS)}") from error
    config = read_config(folder)
    return describe(config) | ({"missing": _missing(folder, config)} if lies_here else {})


def _missing(folder: Path, config: MentorConfig) -> list[str]:
    """What a bundle's folder lacks to be loaded, a sentence each; what the files hold is not looked at."""
    from mentor.checkpoint.layout import IMAGE_TOKENIZER, MODEL, QUERY_TOKENIZER, TEXT_TOKENIZER
    from mentor.checkpoint.shards import find_shards

    missing = []
    for stem in (MODEL, IMAGE_TOKENIZER):
        try:
            find_shards(folder, stem)
        except ValueError as error:
            missing.append(str(error))
    reads_queries = config.connector is not None and config.connector.kind == "query_former"
    needed = (TEXT_TOKENIZER, QUERY_TOKENIZER) if reads_queries else (TEXT_TOKENIZER,)
    return missing + [f"{folder / name} is missing" for name in needed if not (folder / name).is_file()]


def _table(values: dict[str, Any]) -> str:
    sizes = values["parameters"] | {"image_tokenizer": values["image_tokenizer_parameters"]}
    rows = [(name, f"{sizes[name]:,}" if name in sizes else "", what) for name, what in values["parts"].items()]
    rows.insert(-1, ("total", f"{sizes['total']:,}", f"encoder {values['dtypes']['encoder']}, rest float32"))
    names, numbers = (max(len(row[column]) for row in rows) for column in (0, 1))
    title = f"{values['name']}: pictures of {values['image_size']} px, prompts of at most {values['context']} tokens"
    table = [f"  {a.replace('_', ' '):<{names}}  {b:>{numbers}}  {c}".rstrip() for a, b, c in rows]
    return "\n".join([title, *table, *(f"not complete: {line}" for line in values.get("missing", []))])


def _lines(values: dict[str, Any]) -> str:
    width = max(map(len, values), default=0)
    return "\n".join(f"{name:<{width}}  {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return " ".join(map(str, value.values()))
    return repr(value) if isinstance(value, str) and "\n" in value else str(value)
