"""``mentor convert``: what a user types, reads, and gets wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from mentor.checkpoint.layout import read_config
from mentor.checkpoint.pickles import read_pickle
from tests.checkpoint.official_files import (
    ARGS,
    TINY,
    TINY_LLAMAGEN,
    golden_weights,
    language_folder,
    random_weights,
    save,
    save_tokenizer,
    vision_folder,
)
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    save(folder / "stage2.pt", random_weights(TINY), args=ARGS, steps=3)
    save(folder / "t2i_XL_stage1_256.pt", random_weights(TINY_LLAMAGEN))
    save_tokenizer(folder / "vq.pt")
    language_folder(folder / "t5")
    vision_folder(folder / "clip")
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (4, 4), "2.bias": (4,)}
    torch.save({f"model.mm_projector.{n}": torch.randn(s) for n, s in shapes.items()}, folder / "mm_projector.bin")
    return folder


def official(files: Path, out: Path, *words: object) -> list[object]:
    given = ["--model", files / "stage2.pt", "--tokenizer", files / "vq.pt", "--language", files / "t5", "--out", out]
    return ["convert", "official", *given, *words]


def same(one: Path, other: Path) -> bool:
    left, right = (read_pickle(path).tensors for path in (one, other))
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) and left[name].dtype == right[name].dtype for name in left
    )


@pytest.mark.parametrize("spelling", ["--to-official", "to-official"])
def test_a_released_checkpoint_there_and_back(run: Run, files: Path, tmp_path: Path, spelling: str) -> None:
    done = run(*official(files, tmp_path / "out", "--vision", files / "clip"))
    assert done.status == 0
    assert done.out.splitlines() == [
        "left out of stage2.pt: args, steps",
        "left out of vq.pt: the training's count of codes (1)",
        "stage2: pictures of 24 px, prompts of at most 22 tokens",
        f"wrote {tmp_path / 'out'}",
    ]
    told = done.err.splitlines()
    assert told[0].startswith("bytes converted: ")
    assert "warning: 15 of the 39 tensors of the vision tower in stage2.pt are not those of" in told[1]
    assert len(told) == 2
    assert read_config(tmp_path / "out") == TINY

    back = run(
        "convert", spelling, tmp_path / "out", "--out", tmp_path / "back.pt", "--tokenizer-out", tmp_path / "vq.pt"
    )
    assert back.status == 0
    assert back.out.splitlines()[-2:] == [
        f"the image tokenizer is {tmp_path / 'vq.pt'}", f"wrote {tmp_path / 'back.pt'}",
    ]  # fmt: skip
    assert same(tmp_path / "back.pt", files / "stage2.pt")
    assert same(tmp_path / "vq.pt", files / "vq.pt")


def test_the_converted_model_draws(run: Run, files: Path, tmp_path: Path) -> None:
    assert run(*official(files, tmp_path / "out")).status == 0
    drawn = run("generate", "the fox", "--model", tmp_path / "out", "--seed", "1", "-o", tmp_path / "fox.png")
    assert (drawn.status, (tmp_path / "fox.png").exists()) == (0, True)


def test_stock_llamagen(run: Run, files: Path, tmp_path: Path) -> None:
    given = ["--tokenizer", files / "vq.pt", "--language", files / "t5", "--out", tmp_path / "out"]
    done = run("convert", "llamagen", "--model", files / "t2i_XL_stage1_256.pt", *given, "--image-size", "24")
    assert done.status == 0
    assert read_config(tmp_path / "out") == TINY_LLAMAGEN
    assert run("convert", "to-official", tmp_path / "out", "--out", tmp_path / "back.pt").status == 0
    assert same(tmp_path / "back.pt", files / "t2i_XL_stage1_256.pt")
    assert same(tmp_path / "vq_ds4.pt", files / "vq.pt")


def test_parts_alone(run: Run, files: Path, tmp_path: Path) -> None:
    assert run("convert", "tokenizer", files / "vq.pt", "--out", tmp_path / "vq").status == 0
    assert sorted(path.name for path in (tmp_path / "vq").iterdir()) == ["config.json", "image_tokenizer.safetensors"]
    assert run("convert", "to-official", tmp_path / "vq", "--out", tmp_path / "vq.pt").status == 0
    assert same(tmp_path / "vq.pt", files / "vq.pt")
    done = run("convert", "projector", files / "mm_projector.bin", "--out", tmp_path / "connector.safetensors")
    assert done.out == f"connector: 3 -> 4 -> 4\nwrote {tmp_path / 'connector.safetensors'}\n"


def test_a_configuration_and_options_overrule(run: Run, files: Path, tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text(yaml.safe_dump({"connector": {"activation": "gelu_new"}, "name": "mine"}))
    words = ["--config", tmp_path / "over.yaml", "--prefix-rope", "zero", "--image-size", "32", "--preset", "xl-fixed"]
    assert run(*official(files, tmp_path / "out", *words)).status == 0
    config = read_config(tmp_path / "out")
    assert config.connector is not None
    assert (config.name, config.connector.activation, config.null_condition) == ("mine", "gelu_new", "learned")
    assert (config.decoder.prefix_rope, config.image_size, config.encoder_dtype) == ("zero", 32, "bfloat16")

    assert run(*official(files, tmp_path / "again", "--config", tmp_path / "out" / "config.json")).status == 0
    assert read_config(tmp_path / "again") == config


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no kind": ([], "say what to convert: official, llamagen, tokenizer, projector or to-official"),
    "other kind": (["sdxl"], "invalid choice: 'sdxl'"),
    "two kinds": (["--to-official", "d", "tokenizer", "vq.pt", "--out", "x"], "say what to convert"),
    "no place": (["--to-official", "d"], "--out is needed"),
    "no folder": (["to-official", "nowhere", "--out", "x.pt"], "nowhere"),
    "no file": (["tokenizer", "none.pt", "--out", "x"], "none.pt does not exist"),
    "folder": (["tokenizer", ".", "--out", "x"], "is a folder, expected a file"),
    "no model": (["official", "--tokenizer", "vq.pt", "--out", "x"], "--model"),
    "size": (["official", "--model", "a", "--tokenizer", "b", "--out", "x", "--image-size", "big"], "--image-size"),
    "projector's name": (
        ["projector", "mm_projector.bin", "--out", "x.bin"],
        "expected the name of a .safetensors file",
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_cost_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    words, message = MISTAKES[kind]
    done = run("convert", *words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch proof",)


def broken(kind: str, path: Path, files: Path) -> str:
    """Writes a file of that kind; returns what has to be said of it."""
    if kind == "truncated pickle":
        path.write_bytes((files / "stage2.pt").read_bytes()[:50_000])
        return "is not a readable checkpoint"
    if kind == "truncated safetensors":
        path.write_bytes(b'\x10\x27\0\0\0\0\0\0{"norm.weight":')
        return "is not a readable safetensors file"
    if kind == "hostile":
        torch.save({"model": golden_weights("end_to_end"), "args": Hostile()}, path)
        return "is refused: it wants posix.system"
    save(path, {"model.diffusion_model.out.0.weight": torch.zeros(3)})
    return "holds a Stable Diffusion checkpoint, not a MENTOR checkpoint"


@pytest.mark.parametrize("kind", ["truncated pickle", "truncated safetensors", "hostile", "Stable Diffusion"])
def test_bad_files_cost_one_line_and_leave_nothing(
    run: Run, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = broken(kind, tmp_path / "stage2.pt", files)
    given = ["--tokenizer", files / "vq.pt", "--language", files / "t5", "--out", "out"]
    done = run("convert", "official", "--model", "stage2.pt", *given)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"mentor convert: error: stage2.pt {said}" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["stage2.pt"]


def test_a_place_that_cannot_be_written_is_named(run: Run, files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(*official(files, tmp_path / "file" / "out"))
    assert (done.status, done.out) == (2, "")
    assert str(tmp_path / "file") in done.err.splitlines()[-1]
    (tmp_path / "README.md").touch()
    done = run(*official(files, tmp_path))
    assert "holds README.md and no model of mentor" in done.err
    assert (done.status, done.err.count("\n")) == (2, 1)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_without_permission_is_named(run: Run, files: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = run(*official(files, tmp_path / "out"))
    tmp_path.chmod(0o700)
    assert done.status == 2
    assert "Permission denied" in done.err.splitlines()[-1]
