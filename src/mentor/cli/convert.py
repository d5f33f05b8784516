"""``mentor convert``: released checkpoints become model folders, and back."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.cli.progress import stage_progress
from mentor.config.load import merge, read_yaml
from mentor.config.model import MentorConfig
from mentor.config.presets import PRESETS

if TYPE_CHECKING:
    from mentor.checkpoint.conversion import Report


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "convert",
        help="turn released checkpoints into model folders, and back",
        description="Turn released checkpoints into folders that mentor reads, and back, every number kept bit for bit.",
    )
    parser.add_argument("--to-official", type=Path, metavar="DIR", help="the same as: mentor convert to-official DIR")
    _add_back_arguments(parser)
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT")
    official = kinds.add_parser("official", help="MENTOR: stage1.pt, stage2.pt, generator_ckpt.pt")
    _add_model_arguments(official, "xl")
    official.add_argument(
        "--vision", type=Path, metavar="DIR", help="hub folder of CLIP, for what the checkpoint lacks"
    )
    official.add_argument(
        "--projector", type=Path, metavar="FILE", help="mm_projector.bin, or random, for a checkpoint without one"
    )
    llamagen = kinds.add_parser("llamagen", help="stock LlamaGen: t2i_XL_stage1_256.pt, t2i_XL_stage2_512.pt")
    _add_model_arguments(llamagen, "llamagen-xl")
    tokenizer = kinds.add_parser("tokenizer", help="an image tokenizer alone: vq_ds16_t2i.pt, vq_ds8_c2i.pt")
    tokenizer.add_argument("file", type=Path)
    tokenizer.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    projector = kinds.add_parser("projector", help="a LLaVA projector: mm_projector.bin")
    projector.add_argument("file", type=Path)
    projector.add_argument("--out", type=Path, required=True, metavar="FILE", help="safetensors file to write")
    back = kinds.add_parser(
        "to-official", help="a model folder, an image tokenizer or a projector under official names"
    )
    back.add_argument("folder", type=Path, help="what one of the other conversions wrote, or training exported")
    _add_back_arguments(back)


def _add_model_arguments(parser: argparse.ArgumentParser, preset: str) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="the checkpoint")
    parser.add_argument(
        "--tokenizer", type=Path, required=True, metavar="FILE", help="its image tokenizer: vq_ds16_t2i.pt"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="model folder to write")
    parser.add_argument(
        "--language",
        type=Path,
        metavar="DIR",
        help="hub folder of FLAN-T5-XL: the text tokenizer, and the weights where the checkpoint has none",
    )
    parser.add_argument(
        "--preset",
        choices=[name for name, config in PRESETS.items() if _alike(config, PRESETS[preset])],
        default=preset,
        help="what shapes do not tell is as in this model (default: %(default)s)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a config.json or some of its keys, which overrule")
    parser.add_argument("--image-size", type=int, metavar="PX", help="side of the pictures (default: as the file says)")
    parser.add_argument(
        "--prefix-rope",
        choices=["identity", "zero"],
        help="positions of the prefix; zero: trained with --fix gpt (default: as the file or the preset says)",
    )


def _alike(config: MentorConfig, other: MentorConfig) -> bool:
    """Whether two models are made of the same kinds of parts."""
    kinds = [(c.language.kind, c.vision and c.vision.kind, c.connector and c.connector.kind) for c in (config, other)]
    return kinds[0] == kinds[1]


def _add_back_arguments(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: a subcommand must not overwrite what was given before its name.
    parser.add_argument("--out", type=Path, metavar="FILE", default=argparse.SUPPRESS, help="checkpoint to write")
    parser.add_argument(
        "--tokenizer-out",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="image tokenizer to write (default: beside the checkpoint)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert, and print what was written and what the user should know."""
    if args.kind == "to-official":
        args.to_official = args.folder
    if (args.to_official is None) == (args.kind in (None, "to-official")):
        raise ValueError("say what to convert: official, llamagen, tokenizer, projector or to-official")
    if getattr(args, "out", None) is None:
        raise ValueError("--out is needed: where to write")
    with stage_progress() as stage:

        def progress(done: int, total: int) -> None:
            stage("bytes converted", done, total)

        report = _convert(args, progress)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for note in report.notes:
        print(note)
    print(f"wrote {report.out}")
    return 0


def _convert(args: argparse.Namespace, progress: Any) -> Report:
    if args.to_official is not None:
        from mentor.checkpoint.convert_back import convert_back

        return convert_back(args.to_official, args.out, getattr(args, "tokenizer_out", None))
    if args.kind == "tokenizer":
        from mentor.checkpoint.convert_parts import convert_image_tokenizer

        return convert_image_tokenizer(args.file, args.out, progress=progress)
    if args.kind == "projector":
        from mentor.checkpoint.convert_parts import convert_projector

        return convert_projector(args.file, args.out)
    from mentor.checkpoint.conversion import Extras
    from mentor.checkpoint.convert_model import convert_model

    given = read_yaml(args.config) if args.config else {}
    if args.prefix_rope:
        given = merge(given, {"decoder": {"prefix_rope": args.prefix_rope}})
    extras = Extras(
        vision=getattr(args, "vision", None),
        language=args.language,
        projector=getattr(args, "projector", None),
        image_size=args.image_size,
        config=given,
    )
    return convert_model(args.model, args.tokenizer, args.out, PRESETS[args.preset], extras, progress)
