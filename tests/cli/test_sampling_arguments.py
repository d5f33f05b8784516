"""The model that a command line names, with its adapters."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mentor.cli.sampling_arguments import add_model_arguments, load_pipeline, model_name
from mentor.generation.pipeline import MentorPipeline
from tests.generation.tiny_bundle import tiny_bundle


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("scales", "expected"),
    [([], [1.0, 1.0]), (["0.5"], [0.5, 0.5]), (["0.5", "1"], [0.5, 1.0])],
)
def test_adapters_have_one_strength_or_each_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scales: list[str], expected: list[float]
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "adapter_config.json").write_text("{}")
    words = [word for folder in folders for word in ("--adapter", str(folder))]
    words += [word for scale in scales for word in ("--adapter-scale", scale)]
    loaded: list[tuple[Path, float]] = []
    pipeline = MentorPipeline(tiny_bundle())
    monkeypatch.setattr(MentorPipeline, "from_pretrained", lambda name, **options: pipeline)
    monkeypatch.setattr(pipeline, "load_adapter", lambda folder, scale: loaded.append((folder, scale)))
    args = arguments(*words)
    assert load_pipeline(args) is pipeline
    assert loaded == list(zip(folders, expected, strict=True))
    shown = [f"{folder}" if scale == 1 else f"{scale:g} x {folder}" for folder, scale in loaded]
    assert model_name(args) == " + ".join(["mini", *shown])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapter-scale", "0.5"], "expected one for all 0 adapters or one for each, got 1"),
        (["--adapter", "a", *["--adapter-scale", "1"] * 2], "expected one for all 1 adapters or one for each, got 2"),
        (["--adapter", "absent"], "adapter 'absent': expected a folder"),
    ],
)
def test_mistakes_are_told_before_the_model_is_read(
    monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setattr(MentorPipeline, "from_pretrained", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(ValueError, match=message):
        load_pipeline(arguments(*words))
