"""``mentor generate``: what it writes, and that a mistake costs one line, status 2 and no file."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

from mentor import MentorPipeline
from mentor.checkpoint.store import save_bundle
from mentor.config.sampling import GenerationSettings
from mentor.data.images import load_image
from mentor.generation.png_metadata import read_metadata
from tests.cli.conftest import Outcome
from tests.data.test_images import bomb
from tests.generation.tiny_bundle import tiny_bundle

Run = Callable[..., Outcome]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    Image.new("RGB", (50, 40), "red").save(tmp_path / "ref.png")
    return tmp_path / "ref.png"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_the_file_holds_what_the_pipeline_makes(run: Run, tiny_model: Path, reference: Path, out: Path) -> None:
    done = run(
        "generate", "a red fox", "--image", reference, "--subject", "fox", "--seed", 11, "--cfg-scale", 3,
        "--temperature", 0.8, "--top-k", 50, "--top-p", 0.9, "--model", tiny_model, "-o", out / "fox.png",
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    assert "fox.png" in done.out
    assert "seed 11" in done.out
    sampling = {"cfg_scale": 3.0, "temperature": 0.8, "top_k": 50, "top_p": 0.9}
    same = MentorPipeline.from_pretrained(tiny_model)("a red fox", images=reference, subject="fox", seed=11, **sampling)
    assert np.array_equal(np.asarray(load_image(out / "fox.png")), np.asarray(same.images[0]))
    metadata = read_metadata(out / "fox.png")
    assert metadata | sampling == metadata
    assert metadata["prompt"] == "The fox in <image>.\na red fox"
    assert metadata["seeds"] == [11]
    assert metadata["model"] == str(tiny_model)
    assert [image["file"] for image in metadata["images"]] == ["ref.png"]


def test_sampling_that_is_not_said_is_the_models_own(run: Run, tmp_path: Path, out: Path) -> None:
    bundle = tiny_bundle()
    config = replace(bundle.config, generation=GenerationSettings(cfg_scale=7.5, temperature=0.9))
    bundle.mentor.config = config
    model = save_bundle(tmp_path / "own", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    assert run("generate", "a fox", "--model", model, "--top-k", 8, "-o", out / "fox.png").status == 0
    metadata = read_metadata(out / "fox.png")
    assert metadata | {"cfg_scale": 7.5, "temperature": 0.9, "top_k": 8, "top_p": 1.0} == metadata


def test_an_image_without_a_subject_is_told_to_be_drawn_again(
    run: Run, tiny_model: Path, reference: Path, out: Path
) -> None:
    words = ["generate", "a fox", "--image", reference, "--model", tiny_model, "-o", out / "fox.png"]
    assert "note: drawn as a reconstruction" in run(*words).err
    assert run(*words, "--subject", "fox").err == ""
    assert run(*words, "--task", "reconstruct").err == ""


def test_the_batch_size_changes_no_picture(run: Run, tiny_model: Path, out: Path) -> None:
    for name, size in (("a", 16), ("b", 2)):
        words = ["-n", 3, "--batch-size", size, "--model", tiny_model, "-o", out / f"{name}.png"]
        assert run("generate", "a fox", *words).status == 0
    for index in range(3):
        one, other = (np.asarray(load_image(out / f"{name}-{index}.png")) for name in "ab")
        assert np.array_equal(one, other)


def test_the_references_are_recorded_as_they_were_when_the_call_began(
    run: Run, tiny_model: Path, reference: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, load = hashlib.sha256(reference.read_bytes()).hexdigest(), MentorPipeline.from_pretrained

    def removing(*args: object, **kwargs: object) -> MentorPipeline:
        reference.unlink()
        return load(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(MentorPipeline, "from_pretrained", removing)
    assert run("generate", "a fox", "--image", reference, "--model", tiny_model, "-o", out / "fox.png").status == 0
    assert read_metadata(out / "fox.png")["images"] == [{"file": "ref.png", "sha256": digest}]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory.\nTried"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_too_little_memory_is_one_line(
    run: Run, tiny_model: Path, out: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    monkeypatch.setattr(MentorPipeline, "encode", MagicMock(side_effect=error))
    done = run("generate", "a fox", "--model", tiny_model, "-o", out / "fox.png")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "--batch-size" in done.err
    assert not list(out.iterdir())
    monkeypatch.setattr(MentorPipeline, "encode", MagicMock(side_effect=RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run("generate", "a fox", "--model", tiny_model, "-o", out / "fox.png")


def test_several_pictures_are_numbered_and_each_remembers_its_seed(run: Run, tiny_model: Path, out: Path) -> None:
    assert run("generate", "a fox", "-n", 3, "--seed", 5, "--model", tiny_model, "-o", out / "fox.png").status == 0
    assert sorted(path.name for path in out.iterdir()) == ["fox-0.png", "fox-1.png", "fox-2.png"]
    assert [read_metadata(out / f"fox-{index}.png")["seeds"] for index in range(3)] == [[5], [6], [7]]
    assert run("generate", "a fox", "--seed", 7, "--model", tiny_model, "-o", out / "one.png").status == 0
    assert np.array_equal(np.asarray(load_image(out / "one.png")), np.asarray(load_image(out / "fox-2.png")))


def test_what_is_made_is_written_when_it_is_made(
    run: Run, tiny_model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of pictures do not go with the last one."""
    words = ["generate", "a fox", "-n", 3, "--batch-size", 2, "--model", tiny_model, "-o", out / "fox.png"]
    generate, calls = MentorPipeline.generate, []

    def stopped(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MentorPipeline, "generate", stopped)
    assert run(*words).status == 130
    assert sorted(path.name for path in out.iterdir()) == ["fox-0.png", "fox-1.png"]


def test_a_second_file_without_its_flag_is_no_text(run: Run, tiny_model: Path, reference: Path, out: Path) -> None:
    """As the shell makes of ``--image refs/*.png``."""
    words = [
        "generate",
        "--image",
        reference,
        reference,
        "--subject",
        "cat",
        "--model",
        tiny_model,
        "-o",
        out / "a.png",
    ]
    done = run(*words)
    assert done.status == 2 and "is a file: write --image before each picture" in done.err
    assert not list(out.iterdir())


def test_a_grid_is_one_file_with_all_pictures(run: Run, tiny_model: Path, out: Path) -> None:
    assert run("generate", "a fox", "-n", 4, "--grid", "--model", tiny_model, "-o", out / "fox.png").status == 0
    assert [path.name for path in out.iterdir()] == ["fox.png"]
    assert load_image(out / "fox.png").size == (2 * 32 + 4, 2 * 32 + 4)
    assert read_metadata(out / "fox.png")["seeds"] == [0, 1, 2, 3]


def test_info_reads_the_settings_back(run: Run, tiny_model: Path, out: Path) -> None:
    run("generate", "a blue hat", "--seed", 9, "--model", tiny_model, "-o", out / "hat.png")
    plain, as_json = run("info", out / "hat.png"), run("info", out / "hat.png", "--json")
    assert (plain.status, as_json.status) == (0, 0)
    assert "a blue hat" in plain.out
    assert re.search(r"^device +cpu$", plain.out, re.MULTILINE)
    assert json.loads(as_json.out) == read_metadata(out / "hat.png")


def test_tasks_and_marks_choose_the_prompt(run: Run, tiny_model: Path, reference: Path, out: Path) -> None:
    for words, prompt in [
        (["--image", reference, "--task", "reconstruct"], "<image>\n"),
        (["fox", "--image", reference, "--task", "segment"], "The fox in <image>."),
        (["red <image> on blue <image>", "--image", reference, "--image", reference], "red <image> on blue <image>"),
    ]:
        assert run("generate", *words, "--model", tiny_model, "-o", out / "a.png").status == 0
        assert read_metadata(out / "a.png")["prompt"] == prompt


@pytest.mark.parametrize(
    "kind", ["animated.gif", "cmyk.jpg", "sixteen.png", "rotated.jpg", "palette.png", "alpha.webp"]
)
def test_unusual_files_simply_work(run: Run, tiny_model: Path, out: Path, tmp_path: Path, kind: str) -> None:
    picture, options = Image.new("RGB", (30, 20), "red"), {}
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind == "animated.gif":
        options = {"save_all": True, "append_images": [Image.new("RGB", (30, 20), "blue")]}
    elif kind == "cmyk.jpg":
        picture = picture.convert("CMYK")
    elif kind == "sixteen.png":
        picture = Image.fromarray(np.full((20, 30), 40_000, dtype=np.uint16))
    elif kind == "rotated.jpg":
        options = {"exif": exif}
    elif kind == "palette.png":
        picture = picture.quantize()
    else:
        picture = Image.new("RGBA", (30, 20), (255, 0, 0, 90))
    picture.save(tmp_path / kind, **options)
    words = ["--image", tmp_path / kind, "--subject", "fox", "--model", tiny_model, "-o", out / "a.png"]
    done = run("generate", "a fox", *words)
    assert (done.status, done.err) == (0, "")
    assert (out / "a.png").is_file()


WRONG = {
    "empty prompt": ([""], "the prompt is empty"),
    "no prompt": ([], "the prompt is empty"),
    "missing image": (["a", "--image", "none.png"], "none.png: there is no such file"),
    "not an image": (["a", "--image", "{text}"], "not a picture"),
    "truncated image": (["a", "--image", "{truncated}"], "damaged or cut off"),
    "folder as image": (["a", "--image", "{folder}"], "is a folder"),
    "bomb": (["a", "--image", "{bomb}"], "too large to open safely"),
    "more marks": (["a <image> <image>", "--image", "{ref}"], "marks 2 image(s) with <image> but 1 were given"),
    "more images": (["a <image>", "--image", "{ref}", "--image", "{ref}"], "marks 1 image(s) with <image> but 2"),
    "marks only": (["a <image>"], "marks 1 image(s) with <image> but 0"),
    "too long": (["fox " * 30], "the prompt has 30 tokens"),
    "too many images": (["<image>" * 9, *["--image", "{ref}"] * 9], "the prompt has 36 tokens"),
    "n zero": (["a", "-n", "0"], "-n: expected 1 to 1000 pictures, got 0"),
    "n huge": (["a", "-n", "1000000000"], "-n: expected 1 to 1000 pictures"),
    "n text": (["a", "-n", "many"], "invalid int value: 'many'"),
    "cfg nan": (["a", "--cfg-scale", "nan"], "cfg_scale: expected a finite number"),
    "cfg inf": (["a", "--cfg-scale", "inf"], "cfg_scale: expected a finite number"),
    "temperature": (["a", "--temperature", "-1"], "temperature: expected"),
    "top-p": (["a", "--top-p", "1.5"], "top_p: expected more than 0 and at most 1, got 1.5"),
    "top-k": (["a", "--top-k", "-1"], "top_k: expected 0 or more"),
    "seed": (["a", "--seed", "-1"], "seed: expected a whole number from 0"),
    "unknown task": (["a", "--task", "paint"], "invalid choice: 'paint'"),
    "unknown option": (["a", "--sede", "3"], "unrecognized arguments: --sede 3"),
    "unknown model": (["a", "--model", "midi"], "unknown model 'midi'"),
    "empty model folder": (["a", "--model", "{folder}"], "config.json cannot be read"),
    "truncated weights": (["a", "--model", "{cut}"], "not a readable safetensors file"),
    "weights of another config": (["a", "--model", "{other}"], "does not fit the configuration"),
    "unknown device": (["a", "--device", "abacus"], "device: expected cpu"),
    "absent device": (["a", "--device", "cuda:99"], "device: cuda:99 cannot be used"),
    "unknown dtype": (["a", "--dtype", "int3"], "invalid choice: 'int3'"),
    "output folder missing": (["a", "-o", "{folder}/none/a.png"], "there is no such folder"),
    "output is a folder": (["a", "-o", "{folder}/is.png"], "is a folder"),
    "output not png": (["a", "-o", "{folder}/a.jpg"], "ends in .png"),
    "output name too long": (["a", "-o", "{folder}/" + "a" * 300 + ".png"], "cannot be written (File name too long)"),
    "subject without image": (["a", "--subject", "fox"], "got 1 subject(s) for 0 image(s)"),
}


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> dict[str, Path]:
    """The files that ``WRONG`` names."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "is.png").mkdir()
    Image.new("RGB", (20, 20), "red").save(folder / "ref.png")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(folder / "whole.png")
    (folder / "truncated.png").write_bytes((folder / "whole.png").read_bytes()[:5000])
    (folder / "letter.png").write_text("Dear reader,")
    for name in ("cut", "other"):
        shutil.copytree(tiny_model, folder / name)
    weights = folder / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    config = json.loads((folder / "other" / "config.json").read_text())
    config["decoder"]["width"] *= 2
    (folder / "other" / "config.json").write_text(json.dumps(config))
    return {
        "text": folder / "letter.png", "truncated": folder / "truncated.png", "ref": folder / "ref.png",
        "folder": folder, "cut": folder / "cut", "other": folder / "other", "bomb": bomb(folder / "bomb.png"),
    }  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_costs_one_line_and_no_file(
    run: Run, tiny_model: Path, hostile: dict[str, Path], out: Path, case: str
) -> None:
    before = set(hostile["folder"].rglob("*"))
    words, message = WRONG[case]
    words = [word.format(**hostile) for word in words]
    if "--model" not in words:
        words += ["--model", str(tiny_model)]
    if "-o" not in words:
        words += ["-o", str(out / "a.png")]
    done = run("generate", *words)
    assert done.status == 2
    assert done.out == ""
    assert re.match("mentor( generate)?: error: ", done.err)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert list(out.iterdir()) == []
    assert set(hostile["folder"].rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that refuses even the administrator")
def test_a_folder_that_refuses_files_is_told_before_any_work(run: Run) -> None:
    done = run("generate", "a fox", "--model", "a-model-that-is-never-looked-for", "-o", "/proc/fox.png")
    assert done.status == 2
    assert done.err.startswith("mentor generate: error: /proc/fox.png: cannot be written")


def test_a_failing_disk_leaves_nothing_half_written(
    run: Run, tiny_model: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (out / "fox-0.png").write_bytes(b"an older picture")
    write, calls = Path.write_bytes, []

    def full(target: Path, data: bytes) -> int:
        calls.append(target)
        if len(calls) == 2:
            write(target, data[: len(data) // 2])
            raise OSError(28, "No space left on device", str(target))
        return write(target, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run("generate", "a fox", "-n", 2, "--model", tiny_model, "-o", out / "fox.png")
    assert done.status == 2
    assert "No space left on device" in done.err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"fox-0.png": b"an older picture"}
