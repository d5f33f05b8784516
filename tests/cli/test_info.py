"""``mentor info``: a model's parts add up without its weights, and files that are not ours are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from PIL import Image

from mentor.config.presets import PRESETS
from tests.cli.conftest import Outcome
from tests.generation.tiny_bundle import tiny_bundle

Run = Callable[..., Outcome]


def test_the_parts_of_a_model_add_up(run: Run, tiny_model: Path) -> None:
    values = json.loads(run("info", tiny_model, "--json").out)
    bundle, sizes = tiny_bundle(), values["parameters"]
    assert sizes["total"] == sum(weight.numel() for weight in bundle.mentor.parameters())
    assert sizes["total"] == sum(size for name, size in sizes.items() if name != "total")
    assert sizes["connector"] == sum(weight.numel() for weight in bundle.mentor.encoder.connector.parameters())
    assert values["image_tokenizer_parameters"] == sum(w.numel() for w in bundle.image_tokenizer.parameters())
    assert (values["name"], values["image_size"], values["context"]) == ("tiny", 32, 24)
    assert (values["tokens_per_image"], values["missing"]) == (4, [])


def test_the_released_model(run: Run) -> None:
    """Numbers of the reference classes."""
    values = json.loads(run("info", "xl", "--json").out)
    assert values["parameters"] == {
        "total": 2_310_680_832,
        "vision_tower": 303_179_776,
        "connector": 6_295_552,
        "language_encoder": 1_223_527_424,
        "projector": 4_259_840,
        "decoder": 773_418_240,
    }
    assert values["image_tokenizer_parameters"] == 71_883_403
    assert (values["context"], values["image_size"], values["tokens_per_image"]) == (512, 512, 256)
    assert values["dtypes"] == {"encoder": "bfloat16", "rest": "float32"}
    assert "missing" not in values


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_table(run: Run, name: str) -> None:
    shown, values = run("info", name), json.loads(run("info", name, "--json").out)
    assert shown.status == 0
    config = PRESETS[name]
    boxes = ["language encoder", "projector", "decoder", "null condition", "image tokenizer"]
    boxes += [] if config.vision is None else ["vision tower", "connector"]
    for box in boxes:
        assert f"  {box} " in shown.out
    assert f"{values['parameters']['total']:,}" in shown.out
    assert ("vision_tower" in values["parameters"]) == (config.vision is not None)
    assert ("null_condition" in values["parameters"]) == (config.null_condition == "learned")


def test_no_weights_are_read_and_missing_files_are_named(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    whole = json.loads(run("info", folder, "--json").out)
    (folder / "model.safetensors").write_bytes(b"no weights at all")
    assert json.loads(run("info", folder, "--json").out) == whole
    (folder / "model.safetensors").unlink()
    (folder / "tokenizer.json").unlink()
    values = json.loads(run("info", folder, "--json").out)
    assert values["parameters"] == whole["parameters"]
    model, tokenizer = values["missing"]
    assert "model.safetensors is missing" in model
    assert "tokenizer.json is missing" in tokenizer
    shown = run("info", folder)
    assert (shown.status, shown.out.count("not complete: ")) == (0, 2)
    (folder / "config.json").write_text(json.dumps({"contxt": 3}))
    broken = run("info", folder)
    assert (broken.status, broken.err.count("\n")) == (2, 1)
    assert "config.json: unknown key 'contxt'; did you mean 'context'" in broken.err


def test_of_a_model_on_the_hub_only_the_configuration_is_fetched(
    run: Run, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--tiny"
    (repository / "snapshots" / "1").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1")
    shutil.copy(tiny_model / "config.json", repository / "snapshots" / "1")
    values, local = (json.loads(run("info", name, "--json").out) for name in ("someone/tiny", tiny_model))
    assert values == {key: value for key, value in local.items() if key != "missing"}
    absent = run("info", "someone/else")
    assert (absent.status, absent.err.count("\n")) == (2, 1)
    for name in ("BleachNick/Mentor", "BleachNick/Mentor@main"):  # nothing is downloaded
        assert json.loads(run("info", name, "--json").out)["parameters"]["total"] == 2_310_680_832


def test_an_unknown_name_is_told_the_known_ones(run: Run) -> None:
    done = run("info", "nonsense")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert all(name in done.err for name in ("nonsense", "mini", *PRESETS))


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
