"""The recipes that come with the package, by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from mentor.config.load import from_dict, read_yaml, with_overrides
from mentor.config.run import TrainConfig
from mentor.config.variants import with_answers, with_steps


def recipe_folder() -> Path:
    """The folder of the shipped recipes."""
    return Path(str(files("mentor"))) / "assets" / "recipes"


def recipe_names() -> list[str]:
    """Names of the shipped recipes, such as ``mini-64/stage1``; files whose name starts with '_' are shared parts."""
    folder = recipe_folder()
    paths = (path for path in folder.rglob("*.yaml") if not path.name.startswith("_"))
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in paths)


def find_recipe(name: str) -> Path:
    """The file of a recipe given by name or path. Raises ValueError, listing the names, if there is none."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if name not in recipe_names():
        raise ValueError(f"unknown recipe '{name}'; known: {', '.join(recipe_names())}; or give a .yaml file")
    return recipe_folder() / f"{name}.yaml"


def recipe_header(name: str) -> str:
    """The comment at the top of a recipe: what it needs, how to launch it, what to expect."""
    lines = find_recipe(name).read_text(encoding="utf-8").splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:end])


def load_recipe(name: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """A recipe by name or path, with overrides applied; so is its ``base``. Raises ValueError for every mistake in it."""
    own = read_yaml(find_recipe(name), find_recipe)
    if {"schedule.steps", "schedule.samples"} <= {override.partition("=")[0].strip() for override in overrides}:
        raise ValueError("schedule.steps and schedule.samples: both say how long the run is; give one of them")
    answered = with_answers(with_overrides(own, overrides))
    # Once more, over the answers: what a person types wins.
    typed = [override for override in overrides if not override.strip().startswith("switches")]
    return from_dict(TrainConfig, with_steps(with_overrides(answered, typed)))
