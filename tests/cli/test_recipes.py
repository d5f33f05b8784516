"""``mentor recipes``: what it prints is a recipe again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mentor.config.recipes import load_recipe, recipe_names
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.mark.parametrize("name", recipe_names())
def test_a_printed_recipe_is_the_recipe(run: Run, tmp_path: Path, name: str) -> None:
    printed = run("recipes", name)
    assert printed.status == 0 and printed.out.startswith("# ")
    path = tmp_path / "my.yaml"
    path.write_text(printed.out)
    assert load_recipe(str(path)) == load_recipe(name)
    assert load_recipe(str(path), ["seed=5"]).seed == 5


def test_the_list_has_a_line_for_each(run: Run) -> None:
    assert run("recipes", "--plain").out.split() == recipe_names()
    lines = run("recipes").out.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
