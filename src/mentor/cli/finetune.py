"""``mentor finetune``: teaches a model one subject from a folder of pictures, and shows the same prompts before and after."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.cli.sampling_arguments import check_seed
from mentor.generation.png_metadata import write_pngs

if TYPE_CHECKING:
    from PIL import Image

    from mentor.config.run import TrainConfig
    from mentor.data.example import Example
    from mentor.training.protocol import Objective

SHOWN = 8
"""Prompts of the sheet: the first ones."""
SHEET = "before-after.png"


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    parser = subparsers.add_parser(
        "finetune",
        help="teach a model one subject from a few pictures",
        description="Teach a model one subject from a folder of 3 to 30 pictures (LoRA), by the recipe 'finetune'.",
        epilog="example: mentor finetune --images photos/mug --subject mug --out runs/mug",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="single values of the recipe, optim.lr=3e-4")
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="pictures of the subject")
    parser.add_argument("--subject", required=True, metavar="NAME", help='what they show, for example "my mug"')
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run; resumed if begun")
    parser.add_argument("--model", default="mini", help="mini, a model's folder or a hub name (default: %(default)s)")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="text file with lines NAME: caption")
    parser.add_argument("--held-out", type=int, default=0, metavar="N", help="keep the last N pictures to measure with")
    parser.add_argument("--steps", type=int, metavar="N", help="optimiser steps (default: the recipe's)")
    parser.add_argument("--rank", type=int, metavar="R", help="of the adapters (default: the recipe's)")
    parser.add_argument("--dora", action="store_true", help="adapters with lengths of their own (DoRA)")
    parser.add_argument("--seed", type=int, default=0, help="of training and pictures (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the run in --out and start anew; ignored in a restart"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what would be trained and stop")


def run(args: argparse.Namespace) -> int:
    """Train, export, draw before and after; raises ValueError for every mistake in arguments, pictures or folder."""
    from mentor.training.finetune import Wishes, finetune_recipe

    check_seed(args.seed)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("one process fine-tunes, on one device: start it without torchrun or accelerate launch")
    wishes = Wishes(
        args.images,
        args.subject,
        model=args.model,
        captions=args.captions,
        held_out=args.held_out,
        steps=args.steps,
        rank=args.rank,
        dora=args.dora,
        seed=args.seed,
        overrides=args.overrides,
    )
    config = finetune_recipe(wishes)
    from mentor.data.sources import open_source

    size = config.model.resolve().image_size
    pictures = open_source(config.data.all_sources[0], split="held_out", size=size, seed=config.seed)
    for line in _told(config, args.images):
        print(line)

    from mentor.training.distributed import join

    if args.dry_run:
        from mentor.training.outline import outline

        print("\n".join(outline(config, join(args.device))))
        return 0
    import peft  # noqa: F401  a package that is missing is told now, not after the held-out losses

    from mentor.training.build import build
    from mentor.training.run_folder import RECIPE, check_run, overwrites
    from mentor.training.trackers import check_trackers
    from mentor.training.trainer import Trainer

    overwrite = overwrites(args.overwrite)
    check_run(args.out, config, overwrite=overwrite)  # before the slow part
    check_trackers(config.logging.trackers)
    objective, feed = build(config)
    before = _losses(objective, args.device)
    started = time.perf_counter()
    trainer = Trainer(config, objective, feed, device=args.device)
    if overwrite and (args.out / RECIPE).exists():
        (args.out / SHEET).unlink(missing_ok=True)  # the trainer knows nothing of it
    final = trainer.run(args.out, overwrite=overwrite)
    seconds = time.perf_counter() - started
    after = _losses(objective, args.device)
    objective.module.cpu()  # the device is for the two models that draw
    examples = [pictures.example(number, args.seed + number) for number in range(SHOWN)]
    sheet = _sheet(config, final, examples, args.device)
    record = {"model": args.model, "subject": args.subject, "seed": args.seed, "before": before, "after": after}
    write_pngs([(args.out / SHEET, sheet, record)])
    print(f"trained for {seconds:.0f} s; held-out losses (nats a token, before -> after):")
    for name, value in before.items():
        print(f"  {name}: {value:.2f} -> {after[name]:.2f}")
    print(f"{final}\n{args.out / SHEET}")
    return 0


def _told(config: TrainConfig, images: Path) -> list[str]:
    """What a person should know of the pictures and the data, one line each."""
    from mentor.data.finetune_folder import picture_files, unread

    files, others = picture_files(images)
    source, *prior = config.data.sources
    held_out = source.options["held_out"]
    kept = len(files) - held_out
    lines = [f"{len(files)} pictures, {kept} to train with"]
    if others:
        lines.append(f"left out, no pictures by their names: {', '.join(path.name for path in others)}")
    if advice := unread(others):
        lines.append(advice)
    if kept == 1:
        lines.append("one picture: its reference is the same picture, distorted; expect copies, 3 to 30 are better")
    elif kept < 3:
        lines.append("fewer than 3 pictures: expect copies; 3 to 30 are better")
    if not held_out:
        lines.append(
            "none held out: the own subject is measured on the pictures trained on (--held-out N keeps N apart)"
        )
    if config.engine.activation_checkpointing:
        lines.append(
            f"to save memory: activations are computed again (engine.activation_checkpointing), {config.data.batch_size} "
            f"samples at a time, {config.optim.accumulate} times a step (data.batch_size, optim.accumulate)"
        )
    share = sum(one.weight for one in prior) / sum(one.weight for one in config.data.sources)
    lines.append(
        f"{share:.0%} of the samples are the corpus's tasks, so that they are not forgotten"
        if prior
        else "no corpus found: nothing keeps the model from forgetting other subjects"
    )
    return lines


def _losses(objective: Objective, device: str) -> dict[str, float]:
    from mentor.training.distributed import join
    from mentor.training.finetune import object_losses
    from mentor.training.objective import MentorObjective

    assert isinstance(objective, MentorObjective)
    objective.module.to(join(device).device).eval()
    return {name: round(value, 4) for name, value in object_losses(objective).items()}


def _sheet(config: TrainConfig, final: Path, examples: list[Example], device: str) -> Image.Image:
    """Reference, picture before and after, and the target, of every example; number i is drawn with seed + i."""
    from mentor.evaluation.contact_sheet import Entry, contact_sheet
    from mentor.generation.pipeline import MentorPipeline

    assert config.init.bundle is not None
    drawn = []
    for model in (config.init.bundle, final):
        pipeline = MentorPipeline.from_pretrained(model, device=device)
        drawn.append(pipeline([example.prompt for example in examples], seed=config.seed).images)
    entries = [
        Entry(
            (*example.prompt.images, before, after, example.target),
            ("reference", "before", "after", "own picture"),
            f"seed {config.seed + number}: {example.prompt.text.splitlines()[-1]}",
        )
        for number, (example, before, after) in enumerate(zip(examples, *drawn, strict=True))
    ]
    title = f"The first {len(entries)} prompts, the same seeds before and after; nothing picked."
    return contact_sheet(entries, columns=2, cell=128, title=title)
