"""The arguments that say which judge is asked, and how (``mentor evaluate dreambench_plus``)."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mentor.evaluation.protocol import JudgeSettings


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the ``--judge-...`` options."""
    from mentor.evaluation.protocol import JudgeSettings as default

    group = parser.add_argument_group("judge")
    group.add_argument(
        "--judge-url",
        default=default.url,
        metavar="URL",
        help="OpenAI-compatible endpoint, for example http://localhost:8000/v1; or local: --judge-model is a model of "
        "transformers (folder, or hub name @ revision); or stand-in, for a dry run",
    )
    group.add_argument("--judge-model", default=default.model, metavar="NAME", help="model (default: %(default)s)")
    group.add_argument(
        "--judge-key-variable",
        default=default.key_variable,
        metavar="NAME",
        help="environment variable that holds the key (default: %(default)s)",
    )
    group.add_argument(
        "--judge-rubrics", type=Path, metavar="DIR", help="the official prompt files (default: rubrics in our words)"
    )
    group.add_argument(
        "--judge-rubric-setting",
        default=default.rubric_setting,
        metavar="NAME",
        help="which of the official prompt files (default: %(default)s)",
    )
    numbers = {
        "passes": (int, "times that every picture is judged"),
        "temperature": (float, "sampling temperature"),
        "threads": (int, "questions asked at the same time"),
        "timeout": (float, "seconds without an answer after which a question is asked again"),
        "retries": (int, "how often a busy or silent judge is asked again"),
        "price_in": (float, "price of a million tokens read"),
        "price_out": (float, "price of a million tokens written"),
    }
    for name, (kind, text) in numbers.items():
        flag, value = f"--judge-{name.replace('_', '-')}", getattr(default, name)
        group.add_argument(flag, type=kind, default=value, metavar="X", help=f"{text} (default: %(default)s)")
    group.add_argument(
        "--judge-accept-unanswered",
        action="store_true",
        help="count questions that a busy judge left unanswered as failures (default: stop, to be run again)",
    )
    group.add_argument("--judge-seed", type=int, metavar="N", help="seed sent with every question (default: none)")


def judge_settings(args: argparse.Namespace) -> JudgeSettings:
    """What the arguments ask for; ``ValueError`` for a number that cannot be."""
    from mentor.evaluation.protocol import JudgeSettings

    if not args.judge_url and not args.sample:  # told before any picture is made
        raise ValueError("--judge-url: name the judge: an endpoint, local, or stand-in")
    if args.judge_url == "local" and args.judge_model == JudgeSettings.model:
        raise ValueError("--judge-model: name a vision-language model of transformers, a folder or a hub name")
    least_of = {"passes": 1, "threads": 1, "timeout": 1, "retries": 0, "temperature": 0, "price_in": 0, "price_out": 0}
    for name, least in least_of.items():
        value = getattr(args, f"judge_{name}")
        if not value >= least:
            raise ValueError(f"--judge-{name.replace('_', '-')}: expected {least} or more, got {value}")
    return JudgeSettings(**{field.name: getattr(args, f"judge_{field.name}") for field in fields(JudgeSettings)})
