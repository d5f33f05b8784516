"""``mentor build-data``: pictures become training data, with a vision-language model and Segment Anything (appendix D)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.cli.progress import stage_progress
from mentor.cli.shares import add_share_argument, read_share

if TYPE_CHECKING:
    from mentor.construction.annotation.annotator import Annotator
    from mentor.construction.annotation.quality import MaskLimits

LOCAL, CONTRAST = "local", "contrast"
LIMITS = {
    "min_score": "how sure the segmenter must be",
    "min_area": "share of the picture that a mask covers at least",
    "max_area": "at most",
    "min_inside": "share of the mask that lies in its object's box",
    "min_extent": "agreement of the mask's own box with its object's (intersection over union)",
    "min_points": "share of the object's points that lie on the mask",
    "max_overlap": "agreement with the mask of another object, above which both are the same thing",
}
"""What is asked of a mask."""


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "build-data",
        help="turn pictures into training data: captions, objects, masks",
        description="Ask a vision-language model what pictures show and where, cut the objects out with Segment Anything, and "
        "write training records. A run that was stopped goes on where it was.",
        epilog="example: mentor build-data photos --out data/photos --vlm-url http://localhost:8000/v1 --vlm-model "
        "Qwen/Qwen3-VL-8B-Instruct --segmenter facebook/sam-vit-huge --device cuda",
    )
    parser.add_argument("pictures", type=Path, metavar="DIR", help="pictures, in any depth of folders")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where everything is written")
    parser.add_argument(
        "--vlm-url",
        default="",
        metavar="URL",
        help="OpenAI-compatible endpoint, for example http://localhost:8000/v1; or local: a model of transformers",
    )
    parser.add_argument("--vlm-model", default="", metavar="NAME", help="vision-language model")
    parser.add_argument(
        "--vlm-key-variable",
        default="OPENAI_API_KEY",
        metavar="NAME",
        help="environment variable (default: %(default)s)",
    )
    parser.add_argument(
        "--units",
        choices=("thousandths", "pixels"),
        default="thousandths",
        help="how the model counts places: pixels for Qwen2.5-VL (default: %(default)s)",
    )
    parser.add_argument(
        "--segmenter",
        default="facebook/sam-vit-huge",
        metavar="NAME",
        help="Segment Anything model, folder or hub name; contrast: no model, for plain backgrounds (default: %(default)s)",
    )
    parser.add_argument(
        "--device", help="of the models on this computer: cpu, cuda, ... (default: cuda where there is one)"
    )
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures for recovery (default: the pictures)")
    add_share_argument(parser, "of the pictures")
    parser.add_argument("-n", type=int, metavar="N", help="the first N pictures alone")
    parser.add_argument(
        "--records-only", action="store_true", help="write the records of what is annotated, when all shares are done"
    )
    parser.add_argument(
        "--retry-failures", action="store_true", help="ask anew about pictures that gave nothing in earlier runs"
    )
    numbers: dict[str, tuple[Callable[[str], Any], Any, str]] = {
        "--objects": (int, 5, "objects of a picture at most"),
        "--threads": (int, 8, "pictures that the model is asked about at once"),
        "--timeout": (float, 120.0, "seconds without an answer after which a question is asked again"),
        "--temperature": (number_or_none, 0.0, "of the model's answers; none: the endpoint's own"),
        "--max-tokens": (int, 512, "of one answer; 0: no limit but the endpoint's own"),
        "--seed": (int, 0, "sent with the questions"),
    }
    for flag, (kind, default, text) in numbers.items():
        parser.add_argument(flag, type=kind, default=default, metavar="X", help=f"{text} (default: %(default)s)")
    from mentor.construction.annotation.quality import MaskLimits

    for each in fields(MaskLimits):
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=float,
            default=each.default,
            metavar="X",
            help=f"{LIMITS[each.name]} (default: %(default)s)",
        )


def run(args: argparse.Namespace) -> int:
    """Check the arguments, ask and segment, write the records."""
    share, shares = read_share(args.share)
    for flag, value in ("--objects", args.objects), ("--threads", args.threads), ("-n", args.n):
        if value is not None and value < 1:
            raise ValueError(f"{flag}: expected 1 or more, got {value}")
    if args.temperature is not None and not args.temperature >= 0:
        raise ValueError(f"--temperature: expected 0 or more, or none, got {args.temperature}")
    if args.max_tokens < 0:
        raise ValueError(f"--max-tokens: expected 1 or more, or 0 for no limit, got {args.max_tokens}")
    if args.vlm_url == LOCAL and (args.temperature is None or not args.max_tokens):
        raise ValueError("--temperature, --max-tokens: a model on this computer needs both, for example 0 and 512")
    from mentor.construction.annotation.build import find_pictures
    from mentor.construction.annotation.quality import MaskLimits
    from mentor.construction.annotation.store import check_complete
    from mentor.construction.annotation.training_records import write_records

    limits = MaskLimits(**{each.name: getattr(args, each.name) for each in fields(MaskLimits)})
    if args.out.resolve() == args.pictures.resolve():
        raise ValueError(f"--out: {args.out} is the folder of the pictures; give another one, it may lie inside")
    backgrounds = [] if args.backgrounds is None else find_pictures(args.backgrounds, without=args.out)[0]
    if not args.records_only:
        names, others = find_pictures(args.pictures, without=args.out)
        _annotate(args, limits, names[: args.n], share, shares)
        if others:
            print(f"left out: {others} files of {args.pictures} whose names do not end as pictures' do")
        if shares > 1:
            print("when all shares are done, the same command with --records-only writes the records")
            return 0
    else:
        check_complete(args.out, args.pictures)
    shown = [os.path.relpath((args.backgrounds / name).resolve(), args.out.resolve()) for name in backgrounds]
    counts = write_records(args.out, args.pictures, shown)
    print("records: " + ", ".join(f"{task} {count}" for task, count in counts.items()))
    print(f"Written: {args.out / 'sources.yaml'} (the part of a recipe that trains on them)")
    return 0


def _annotate(args: argparse.Namespace, limits: MaskLimits, names: list[str], share: int, shares: int) -> None:
    from mentor.construction.annotation.annotator import check_units
    from mentor.construction.annotation.build import annotate_folder
    from mentor.construction.annotation.store import AnnotationFile, pictures_from, share_of

    if not args.vlm_url or not args.vlm_model:
        raise ValueError("--vlm-url, --vlm-model: name the vision-language model")
    names = [name for name in names if share_of(name, shares) == share]
    annotator = _annotator(args, limits)
    settings = {
        "pictures": pictures_from(args.out, args.pictures),
        "model": args.vlm_model,
        "segmenter": args.segmenter,
        "units": args.units,
        "objects": args.objects,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "seed": args.seed,
        "limits": asdict(limits),
    }
    with AnnotationFile.opened(args.out, settings, share, shares) as file, stage_progress() as progress:
        if args.retry_failures:
            file.retry_failures()
        if any(name not in file.done for name in names):
            warning = check_units(annotator)
            if warning is not None:
                print(f"note: {warning}", file=sys.stderr)
        done = annotate_folder(
            args.pictures,
            names,
            annotator,
            file,
            report=lambda now: progress("pictures", now.done + now.unanswered, now.total),
        )
    usage = annotator.asker.usage
    print(f"{done.done} of {done.total} pictures ({file.path.name})")
    print(f"new: {done.objects} masks, {done.failures} pictures that give nothing")
    if done.unanswered:
        print(f"{done.unanswered} pictures were not answered (the last: {done.reason}): run again to ask again")
    print(
        f"{usage.asked} questions asked, {usage.new_prompt_tokens} tokens read, {usage.new_completion_tokens} written"
    )


def number_or_none(text: str) -> float | None:
    return None if text == "none" else float(text)


def _annotator(args: argparse.Namespace, limits: MaskLimits) -> Annotator:
    from mentor.construction.annotation.annotator import Annotator
    from mentor.construction.annotation.segmentation import Contrast, SegmentAnything, Segmenter
    from mentor.nn.device import resolve_device
    from mentor.vlm.asker import Asker
    from mentor.vlm.client import Endpoint, VisionLanguageModel

    device = str(resolve_device(args.device))
    model: VisionLanguageModel
    if args.vlm_url == LOCAL:
        from mentor.vlm.local import LocalModel

        model = LocalModel.load(args.vlm_model, device=device, temperature=args.temperature, max_tokens=args.max_tokens)
    else:
        model = Endpoint(
            args.vlm_url,
            args.vlm_model,
            key=os.environ.get(args.vlm_key_variable),
            key_variable=args.vlm_key_variable,
            temperature=args.temperature,
            timeout=args.timeout,
            threads=args.threads,
            max_tokens=args.max_tokens or None,
        )
    segmenter: Segmenter = (
        Contrast() if args.segmenter == CONTRAST else SegmentAnything.load(args.segmenter, device=device)
    )
    asker = Asker(model, args.out / "answers", seed=args.seed)
    return Annotator(asker, segmenter, args.units, args.objects, limits)
