"""``mentor info``: a model's parts add up, and files that are not ours are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.cli.conftest import Outcome
from tests.generation.tiny_bundle import tiny_bundle

Run = Callable[..., Outcome]


def test_the_parts_of_a_model_add_up(run: Run, tiny_model: Path) -> None:
    values = json.loads(run("info", tiny_model, "--json").out)
    bundle = tiny_bundle()
    weights = [*bundle.mentor.parameters(), *bundle.image_tokenizer.parameters()]
    assert values["parameters"] == sum(weight.numel() for weight in weights)
    assert values["parameters"] == sum(part["parameters"] for part in values["parts"].values())
    assert (values["name"], values["image_size"], values["context"]) == ("tiny", 32, 24)


def test_the_table_names_every_box_of_the_figure(run: Run, tiny_model: Path) -> None:
    shown = run("info", tiny_model)
    assert shown.status == 0
    for box in ("vision tower", "connector", "language encoder", "projector", "decoder", "image tokenizer"):
        assert f"  {box} " in shown.out


def test_pictures_without_metadata_and_other_files_are_refused(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_text("hello")
    for name, message in [
        ("plain.png", "a PNG without mentor's metadata"),
        ("broken.png", "not a readable PNG"),
        ("notes.txt", "not a readable PNG"),
        ("none.png", "there is no such file"),
        ("none", "unknown model"),
    ]:
        done = run("info", tmp_path / name)
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert message in done.err
