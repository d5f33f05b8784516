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
    stage, variant, switches = values.get("stage"), values.get("variant", "fixed"), values.get("switches") or {}
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
    """``schedule.samples``, the samples of the whole run, as steps of the effective batch; given steps win."""
    schedule = dict(values.get("schedule") or {})
    samples = schedule.pop("samples", None)
    if samples is not None and "steps" not in schedule:
        batch = (values.get("data") or {}).get("batch_size", 64) * (values.get("optim") or {}).get("accumulate", 1)
        if not isinstance(samples, int) or samples < 1:
            raise ValueError(f"schedule.samples: expected a whole number of 1 or more, got {samples!r}")
        schedule["steps"] = -(-samples // batch)
    return {**values, "schedule": schedule} if "schedule" in values else dict(values)


def _consistent(values: dict[str, Any]) -> dict[str, Any]:
    """Without training what the chosen model keeps as a buffer."""
    overrides = (values.get("model") or {}).get("overrides") or {}
    if overrides.get("null_condition") == "frozen":
        kept = [name for name in values.get("trainable", []) if name != "null_condition"]
        return {**values, "trainable": kept}
    return values
