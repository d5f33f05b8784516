"""``mentor ablate``: train the rows of an ablation study from one start on one budget, and score them side by side."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mentor.cli.sampling_arguments import check_seed

if TYPE_CHECKING:
    from mentor.config.study import Run, Study
    from mentor.evaluation.ablations import Scores
    from mentor.evaluation.pictures import Painter

_LOSSES = {
    "subject, right image": "object_nll/subject/right",
    "wrong image": "object_nll/subject/wrong_image",
    "segment, right image": "object_nll/segment/right",
    "recover, right image": "object_nll/recover/right",
    "text to image": "object_nll/text_to_image/right",
}


def add_parser(subparsers: Any) -> None:
    """Declare the command's arguments."""
    from mentor.config.study import STUDIES

    parser = subparsers.add_parser(
        "ablate",
        help="train and compare the rows of an ablation study",
        description="Train every row of a study from the same weights on the same budget, and score all on the same held-out "
        "scenes. A study that was stopped goes on where it was.",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="single values of all recipes")
    parser.add_argument("--study", default="mini-64", help=f"{', '.join(STUDIES)}, or a YAML file (default: mini-64)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="runs, pictures, ablations.json and .md")
    parser.add_argument("--rows", default="", metavar="A,B", help="these rows, beside the full one (default: all)")
    parser.add_argument("--start", type=Path, metavar="DIR", help="a model that all rows start from (default: trained)")
    parser.add_argument("--steps", nargs="+", default=[], metavar="STAGE=N", help="optimiser steps of a stage")
    parser.add_argument("--prompts", type=int, metavar="N", help="held-out prompts of each seed (default: the study's)")
    parser.add_argument(
        "--seeds", type=int, nargs="+", metavar="S", help="of prompts and pictures (default: the study's)"
    )
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="corpus pack to score on (default: found)")
    parser.add_argument("--workers", type=int, default=2, help="processes that compose pictures (default: 2)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--dry-run", action="store_true", help="list the trainings and stop")


def run(args: argparse.Namespace) -> int:
    """Make what is missing, in order; raises ValueError for every mistake in the study before the first step."""
    from mentor.config.study import distinct, row_runs, start_run

    args.overrides += [word for word in args.steps if "." in word.partition("=")[0]]  # typed behind --steps
    args.steps = [word for word in args.steps if word not in args.overrides]
    for seed in args.seeds or ():
        check_seed(seed)
    study = _study(args)
    first = start_run(study, args.out, args.overrides)
    rows = row_runs(study, args.start or first.final, args.out, args.overrides)
    runs = ([] if args.start else [first]) + distinct(rows)
    for one in runs:
        done = " (done)" if one.final.is_dir() else ""
        print(f"{one.folder}: {one.config.name}, {one.config.schedule.steps:,} steps from {_origin(one)}{done}")
    if args.dry_run:
        return 0
    import mentor.evaluation.ablations
    import mentor.training.trainer  # noqa: F401  a package that is missing is told now, not after the trainings
    from mentor.checkpoint.hub import HubOptions, locate
    from mentor.evaluation.pictures import check_folder

    if args.start is not None:
        locate(str(args.start), HubOptions(), only_config=True)  # before any folder is made
    check_folder(args.out)
    _train(runs, args)
    scores = _score(rows, study, args)
    _report(scores, rows, study, runs, args)
    return 0


def _train(runs: Sequence[Run], args: argparse.Namespace) -> None:
    from mentor.cli.precompute import make_shards
    from mentor.config.study import shards_of
    from mentor.training.build import build
    from mentor.training.run_folder import check_run
    from mentor.training.trainer import Trainer

    for one in runs:
        check_run(one.folder, one.config)  # finished ones too: they may be of another budget
    shards = shards_of(runs)
    for one in runs:
        if one.final.is_dir():
            continue
        print(f"== {one.folder}", flush=True)
        folder = str(one.config.data.shards)
        if not _complete(Path(folder)):
            # Other runs read these samples too; what made them, the towers, is the same in all.
            whole = replace(one.config, data=shards[folder].data)
            make_shards(whole, Path(folder), workers=args.workers, device=args.device)
        objective, feed = build(one.config)
        Trainer(one.config, objective, feed, device=args.device).run(one.folder)


def _score(rows: Mapping[str, Sequence[Run]], study: Study, args: argparse.Namespace) -> Scores:
    from mentor.cli.progress import stage_progress
    from mentor.data.corpus import Corpus, find_pack
    from mentor.evaluation.ablations import score_rows
    from mentor.evaluation.pictures import PictureStore
    from mentor.models.perceptual import STLPIPS

    painters = {row: _painter(stages[-1].final, row, args.device) for row, stages in rows.items()}
    with stage_progress() as progress:
        return score_rows(
            painters,
            Corpus.load(find_pack(args.corpus)),
            PictureStore(args.out),
            STLPIPS(),
            prompts=study.prompts,
            seeds=study.seeds,
            size=next(iter(rows.values()))[-1].config.model.resolve().image_size,
            progress=progress,
        )


def _report(
    scores: Scores,
    rows: Mapping[str, Sequence[Run]],
    study: Study,
    runs: Sequence[Run],
    args: argparse.Namespace,
) -> None:
    from mentor.config.study import REFERENCE
    from mentor.evaluation.ablations import ablation_table, summarise_rows
    from mentor.evaluation.results import provenance, write_json
    from mentor.files import write_text

    paper = {row: label for row, label in study.paper.items() if row in scores}
    summary = summarise_rows(scores, REFERENCE, paper)
    losses = {row: _losses(stages[-1]) for row, stages in rows.items()}
    report = {
        "study": args.study,
        "rows": summary,
        "held_out_losses": losses,
        "runs": {row: [_described(one) for one in stages] for row, stages in rows.items()},
        "start": str(args.start) if args.start else _described(runs[0]),
        "seconds": {str(one.folder.relative_to(args.out)): _seconds(one) for one in runs},
        "prompts": study.prompts,
        "seeds": list(study.seeds),
        "sampling": vars(runs[-1].config.model.resolve().generation),
        "versions": provenance(),
        "scores": scores,
    }
    write_json(args.out / "ablations.json", report)
    lines = ablation_table(summary, losses)
    write_text(args.out / "ablations.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"Written: {args.out / 'ablations.json'}, {args.out / 'ablations.md'}")


def _study(args: argparse.Namespace) -> Study:
    """The study with what the command line changes. ValueError for an unknown row or stage."""
    from mentor.config.study import load_study

    study = load_study(args.study)
    if args.rows:
        study = study.chosen(args.rows.split(","))
    steps = dict(study.steps)
    for pair in args.steps:
        stage, sign, count = pair.partition("=")
        if stage not in steps or not sign or not count.isdecimal():
            raise ValueError(f"--steps: expected STAGE=N with a stage among {', '.join(steps)}, got {pair!r}")
        steps[stage] = int(count)
    changes: dict[str, Any] = {"steps": steps}
    if args.prompts is not None:
        changes["prompts"] = args.prompts
    if args.seeds is not None:
        changes["seeds"] = tuple(args.seeds)
    return replace(study, **changes)


def _complete(folder: Path) -> bool:
    """Whether all shards that the folder's manifest names are there."""
    from mentor.data.shards import read_manifest, shard_name

    if not (folder / "shards.json").is_file():
        return False
    numbers: Mapping[str, int] = read_manifest(folder)["shards"]
    return all((folder / shard_name(split, n)).is_file() for split, count in numbers.items() for n in range(count))


def _painter(final: Path, row: str, device: str) -> Callable[[], Painter]:
    def made() -> Painter:
        from mentor.evaluation.pictures import PipelinePainter
        from mentor.generation.pipeline import MentorPipeline

        pipeline = MentorPipeline.from_pretrained(str(final), device=device)
        return PipelinePainter(pipeline, row, pipeline.config.generation)

    return made


def _records(one: Run) -> list[dict[str, Any]]:
    path = one.folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def _losses(one: Run) -> dict[str, float]:
    """The run's last held-out losses, by what is told."""
    last: dict[str, Any] = next((found for found in reversed(_records(one)) if found["kind"] == "eval"), {})
    return {label: round(last[name], 4) for label, name in _LOSSES.items() if name in last}


def _seconds(one: Run) -> float:
    records = _records(one)
    return float(records[-1]["seconds"]) if records else 0.0


def _origin(one: Run) -> str:
    return str(one.config.init.bundle or one.config.init.image_tokenizer)


def _described(one: Run) -> dict[str, Any]:
    config = one.config
    batch = config.data.batch_size * config.optim.accumulate
    return {"recipe": config.name, "steps": config.schedule.steps, "batch": batch, "start": _origin(one)}
