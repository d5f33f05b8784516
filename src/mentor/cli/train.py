"""``mentor train``: runs a recipe."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from torch import Tensor

    from mentor.config.run import TrainConfig
    from mentor.models.mentor import Mentor


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the main parser."""
    parser = subparsers.add_parser("train", help="train from a recipe", description="Train from a recipe.")
    parser.add_argument("recipe", help="a name from `mentor recipes`, or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="single values, for example optim.lr=3e-4")
    parser.add_argument("--out", type=Path, help="folder of the run; an interrupted run there is resumed")
    parser.add_argument("--resume", action="store_true", help="fail unless there is a checkpoint to resume from")
    parser.add_argument(
        "--accept-changes",
        action="store_true",
        help="go on although the recipe differs, for example in optim.lr or a path",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the run in --out and start anew; ignored in a restart"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what would be trained, without weights or data, and stop"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def run(args: argparse.Namespace) -> int:
    """Trains; raises ValueError for every mistake in the recipe, the data or the folder."""
    # Packed batches have another size each: without this the allocator's memory falls into pieces.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    from mentor.config.recipes import load_recipe
    from mentor.data.recipe_samples import index_sources
    from mentor.training.build import build
    from mentor.training.distributed import join
    from mentor.training.outline import outline
    from mentor.training.run_folder import check_run, overwrites
    from mentor.training.trackers import check_trackers
    from mentor.training.trainer import Trainer

    config = load_recipe(args.recipe, args.overrides)
    if not args.dry_run and args.out is None:
        raise ValueError("--out FOLDER is needed: the folder of the run")
    count = _wanted(config, args.device)
    if count > 1:
        _launch(count, args)
    processes = join(args.device)
    if args.dry_run:
        told = "\n".join(outline(config, processes))
    else:
        # Before the slow building.
        overwrite = overwrites(args.overwrite, tell=processes.main)
        flags = {"overwrite": overwrite, "resume": args.resume, "changes": args.accept_changes}
        processes.first(lambda: check_run(args.out, config, **flags))
        processes.wait()
        check_trackers(config.logging.trackers)
        if processes.count > 1 and not config.data.precomputed:
            # Scans of large files take minutes: one process makes them, the others find their results on the disk.
            processes.first(lambda: index_sources(config.data))
        objective, feed = build(config, sampler=_sample_tokens)
        told = str(Trainer(config, objective, feed, device=args.device).run(args.out, **flags))
    if processes.main:
        print(told)
    processes.wait()
    processes.leave()
    return 0


def _wanted(config: TrainConfig, device: str) -> int:
    """How many processes this one shall start: none (1) where a launcher did, or where there is one device."""
    import torch

    if "WORLD_SIZE" in os.environ or device not in ("auto", "cpu", "cuda"):
        return 1
    if config.engine.processes:
        return config.engine.processes
    if device == "cpu" or config.objective == "image_tokenizer":
        return 1
    return max(1, min(torch.cuda.device_count(), config.data.batch_size))


def _launch(count: int, args: argparse.Namespace) -> NoReturn:
    """Becomes ``torchrun`` with the same command in ``count`` processes."""
    names = ("resume", "overwrite", "accept-changes", "dry-run")
    flags = [f"--{name}" for name in names if getattr(args, name.replace("-", "_"))]
    out = [] if args.out is None else ["--out", str(args.out)]
    launcher = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={count}",
        *_passed_on(),
        "-m",
        "mentor",
    ]
    command = ["train", args.recipe, *args.overrides, *out, *flags, "--device", args.device]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *launcher, *command])


def _passed_on() -> list[str]:
    """Lets torchrun pass SIGUSR1 on too, with its own signals; older ones cannot."""
    from torch.distributed.launcher.api import LaunchConfig

    known = "signals_to_handle" in LaunchConfig.__dataclass_fields__
    return ["--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"] if known else []


def _sample_tokens(mentor: Mentor, states: Tensor, mask: Tensor) -> Tensor:
    """Image tokens for the sample grids: the same random draw every time, at the model's own settings."""
    import torch

    from mentor.generation.decode import generate_tokens

    generators = [torch.Generator(states.device).manual_seed(i) for i in range(len(states))]
    return generate_tokens(mentor, states, mask, mentor.config.generation, generators=generators)
