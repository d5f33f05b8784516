"""An ablation study: rows of recipes that start from the same weights and see as many samples. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mentor.config.load import from_dict, read_yaml
from mentor.config.recipes import load_recipe, recipe_folder
from mentor.config.run import TrainConfig

STUDIES = {"mini-64": "mini-64/ablations/_study.yaml"}
"""The shipped studies."""
REFERENCE = "full"
"""The row that the others are compared with."""


@dataclass(frozen=True)
class Start:
    """The recipe whose weights every row starts from, and what it is told."""

    recipe: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What is compared, on which budget. Raises ValueError for rows without the reference, or of stages without steps."""

    start: Start
    steps: dict[str, int]
    """Stage -> optimiser steps; a row that lacks a stage has its steps in its last one."""
    rows: dict[str, dict[str, str]]
    """Row -> its stages in order, stage -> recipe."""
    overrides: tuple[str, ...] = ()
    """What every run is told, the start too."""
    prompts: int = 120
    """Held-out prompts of each seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    paper: dict[str, str] = field(default_factory=dict)
    """Row -> label of the paper's row (``assets/published.yaml``)."""

    def __post_init__(self) -> None:
        if REFERENCE not in self.rows:
            raise ValueError(f"rows: expected one called {REFERENCE!r}, got {', '.join(self.rows)}")
        for row, stages in self.rows.items():
            unknown = sorted(set(stages) - set(self.steps))
            if unknown or not stages:
                raise ValueError(f"rows.{row}: expected stages among {', '.join(self.steps)}, got {unknown or 'none'}")
        if self.prompts < 1 or not self.seeds:
            raise ValueError(f"expected 1 prompt and 1 seed or more, got {self.prompts} and {list(self.seeds)}")
        if any(count < 1 for count in self.steps.values()):
            raise ValueError(f"steps: expected 1 or more for every stage, got {self.steps}")

    def chosen(self, names: Sequence[str]) -> Study:
        """With these rows alone, and the reference; ValueError for an unknown one."""
        for name in names:
            if name not in self.rows:
                raise ValueError(f"unknown row {name!r}; known: {', '.join(self.rows)}")
        return replace(self, rows={name: self.rows[name] for name in self.rows if name in {*names, REFERENCE}})


@dataclass(frozen=True)
class Run:
    """One training of a study."""

    folder: Path
    config: TrainConfig

    @property
    def final(self) -> Path:
        """The model that it leaves."""
        return self.folder / "final"


def load_study(name: str) -> Study:
    """A study by name or path. Raises ValueError for every mistake in it."""
    return from_dict(Study, read_yaml(recipe_folder() / STUDIES[name] if name in STUDIES else Path(name)))


def start_run(study: Study, out: Path, overrides: Sequence[str] = ()) -> Run:
    """The training that all rows start from."""
    told = [*study.start.overrides, *study.overrides, *overrides]
    return Run(out / "start", _within(load_recipe(study.start.recipe, told), out))


def row_runs(study: Study, start: Path, out: Path, overrides: Sequence[str] = ()) -> dict[str, list[Run]]:
    """Row -> its trainings in order; rows that begin alike share them. ``overrides`` hold for all."""
    made: dict[tuple[Path, str, int], Run] = {}
    rows = {}
    for row, stages in study.rows.items():
        runs, place = [], start
        for stage, recipe in stages.items():
            left = [steps for name, steps in study.steps.items() if name not in stages and stage == list(stages)[-1]]
            steps = study.steps[stage] + sum(left)
            if (place, recipe, steps) not in made:
                told = [*study.overrides, *overrides, f"schedule.steps={steps}", f"init.bundle={place}"]
                made[place, recipe, steps] = Run(out / "runs" / row / stage, _within(load_recipe(recipe, told), out))
            runs.append(made[place, recipe, steps])
            place = runs[-1].final
        rows[row] = runs
    return rows


def distinct(rows: Mapping[str, Sequence[Run]]) -> list[Run]:
    """Every training once, in an order in which each finds its start."""
    return list({run.folder: run for runs in rows.values() for run in runs}.values())


def shards_of(runs: Sequence[Run]) -> dict[str, TrainConfig]:
    """Folder of shards -> the recipe that makes them for all ``runs``: no task left out, as many samples as any run can see."""
    found: dict[str, TrainConfig] = {}
    for config in (run.config for run in runs):
        folder = str(config.data.shards)
        seen = config.schedule.steps * config.optim.accumulate * config.data.batch_size
        samples = min(config.data.samples, seen)
        other = found.get(folder)
        if other is not None:
            samples = max(samples, other.data.samples)
            config = min(other, config, key=lambda one: len(one.data.left_out))
        found[folder] = replace(config, data=replace(config.data, samples=samples))
    return found


def _within(config: TrainConfig, out: Path) -> TrainConfig:
    """With shards of the study's own, unless the recipe's lie there already: a study needs fewer."""
    shards = config.data.shards
    if shards is None or Path(shards).is_dir():
        return config
    return replace(config, data=replace(config.data, shards=str(out / shards)))
