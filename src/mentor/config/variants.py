"""The paper, the released code and its corrections disagree: which answer a recipe takes, as a whole or for one conflict.

A recipe that has a ``stage`` chooses with ``variant`` (``fixed``, ``paper`` or ``as_released``) and, for single conflicts,
with ``switches: {name: answer}``. ``fixed`` is the recipe as it is written; the other answers are values in
``assets/recipes/xl/_conflicts.yaml`` that lie over it. What the command line says lies over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from mentor.config.load import merge, read_yaml

ANSWERS = ("as_released", "paper", "fixed")


@cache
def conflicts() -> dict[str, Any]:
    """Name of a conflict -> ``about``, and answer -> stage or ``all`` -> values of a recipe; without an entry: its own."""
    return read_yaml(Path(str(files("mentor"))) / "assets" / "recipes" / "xl" / "_conflicts.yaml")


def with_answers(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values with its conflicts answered. Raises ValueError for an unknown answer or conflict."""
    stage, variant, switches = values.get("stage"), values.get("variant", "fixed"), _section(values, "switches")
    rest = {key: value for key, value in values.items() if key != "switches"}
    if stage is None:
        if switches or variant != "fixed":
            raise ValueError("variant, switches: this recipe has no stage, so there is nothing to choose")
        return rest
    for name in switches:
        if name not in conflicts():
            near = get_close_matches(name, conflicts(), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(conflicts())}"
            raise ValueError(f"switches: unknown conflict '{name}'{hint}")
    for name, answers in conflicts().items():
        answer = switches.get(name, variant)
        if answer not in ANSWERS:
            where = f"switches.{name}" if name in switches else "variant"
            raise ValueError(f"{where}: expected one of {', '.join(ANSWERS)}, got {answer!r}")
        chosen = answers.get(answer) or {}
        for where in ("all", stage):
            rest = merge(rest, chosen.get(where) or {})
    return _consistent(rest)


def with_steps(values: Mapping[str, Any]) -> dict[str, Any]:
    """``schedule.samples``, the samples of the whole run, as steps of the effective batch too.

    Raises ValueError for samples and steps side by side, and for numbers that cannot be.
    """
    schedule = _section(values, "schedule")
    samples, steps = schedule.get("samples"), schedule.get("steps")
    if samples is None:
        return dict(values)
    if steps is not None:
        raise ValueError(
            f"schedule: give the run's length as samples or as steps, not both (got {samples} and {steps})"
        )
    size = _section(values, "data").get("batch_size", 64)
    accumulate = _section(values, "optim").get("accumulate", 1)
    numbers = {"schedule.samples": samples, "data.batch_size": size, "optim.accumulate": accumulate}
    for key, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{key}: expected a whole number of 1 or more, got {number!r}")
    return {**values, "schedule": {**schedule, "steps": -(-samples // (size * accumulate))}}


def _consistent(values: dict[str, Any]) -> dict[str, Any]:
    """Without training what the chosen model keeps as a buffer."""
    overrides = _section(_section(values, "model"), "overrides")
    if overrides.get("null_condition") == "frozen" and isinstance(values.get("trainable"), list):
        kept = [name for name in values["trainable"] if name != "null_condition"]
        return {**values, "trainable": kept}
    return values


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What a recipe has under ``name``, which is read before its types are checked."""
    found = values.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name}: expected keys and values, got {found!r}")
    return found
