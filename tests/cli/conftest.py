"""Fixtures of the command line's tests: a saved tiny model, and a way to run a command as a user would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mentor.checkpoint.store import save_bundle
from mentor.cli.main import main
from tests.generation.tiny_bundle import tiny_bundle


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random model."""
    bundle = tiny_bundle()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_bundle(folder, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``mentor`` with the given words; argparse's exits become statuses."""

    def command(*words: object) -> Outcome:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as left:
            status = int(left.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return command
