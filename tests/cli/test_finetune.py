"""``mentor finetune``: the tutorial's commands, word for word, on a tiny model; what is told; mistakes in one line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mentor.checkpoint.store import load_bundle, save_bundle
from mentor.data.corpus import Corpus
from mentor.data.images import load_image
from mentor.generation.png_metadata import read_metadata
from tests.cli.conftest import Outcome
from tests.generation.tiny_bundle import tiny_bundle

if TYPE_CHECKING:
    Run = Callable[..., Outcome]

TUTORIAL = Path(__file__).parents[2] / "docs" / "finetune.md"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model with room for the tutorial's prompts."""
    bundle = tiny_bundle(context=64)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_bundle(folder, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place without a corpus, with pictures of a mug."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MENTOR_CORPUS", str(tmp_path / "absent"))
    folder = tmp_path / "photos" / "mug"
    folder.mkdir(parents=True)
    for number in range(4):
        picture = Image.new("RGB", (80, 60), (90, 140, 60 * number))
        ImageDraw.Draw(picture).ellipse((10 + 5 * number, 10, 50, 50), fill=(200, 40, 40))
        picture.save(folder / f"{number + 1}.jpg")
    (tmp_path / "captions.txt").write_text("1.jpg: my mug on a beach\n2.jpg: a red my mug\n")
    return tmp_path


def commands() -> list[list[str]]:
    """The commands in the tutorial's blocks, without comments."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", TUTORIAL.read_text(), flags=re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("mentor ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.integration
def test_the_tutorial_runs_from_its_first_command_to_its_last(here: Path, model: Path, run: Run) -> None:
    done = []
    for words in commands():
        words = [str(model) if word == "mini" else word for word in words]
        if words[0] == "finetune" and "--model" not in words:
            words += ["--model", str(model)]
        if words[0] == "finetune":
            words += ["--steps", "2", "--device", "cpu"]
        outcome = run(*words)
        assert outcome.status == 0, (words, outcome.err)
        done.append(words[0])
    assert done.count("finetune") >= 3 and "generate" in done
    sheet = here / "runs" / "mug" / "before-after.png"
    assert read_metadata(sheet)["after"].keys() == {"own subject"}
    assert load_image(sheet).width > 500
    final = load_bundle(here / "runs" / "mug" / "final").mentor.state_dict()
    start = load_bundle(model).mentor.state_dict()
    changed = {name for name, tensor in start.items() if not torch.equal(tensor.half(), final[name].half())}
    assert changed and all(name.startswith("decoder.layers.") for name in changed)


def _finetune(run: Run, model: Path, *words: object) -> Outcome:
    flags = ("--subject", "my mug", "--model", model, "--steps", 2, "--device", "cpu")
    return run("finetune", "--images", "photos/mug", "--out", "out", *flags, *words)


def test_begun_runs_go_on_and_strange_folders_are_refused(here: Path, model: Path, run: Run) -> None:
    told = _finetune(run, model, "--dry-run")
    assert told.status == 0 and not (here / "out").exists()
    for part in (
        "4 pictures, 4 to train with",
        "no corpus found: nothing keeps the model from forgetting",
        "decoder: ",
        "samples by task: own_subject 32",
    ):
        assert part in told.out
    first = _finetune(run, model, "--held-out", 1)
    assert first.status == 0 and "4 pictures, 3 to train with" in first.out
    assert re.search(r"own subject: \d+\.\d\d -> \d+\.\d\d", first.out)
    sheet = (here / "out" / "before-after.png").read_bytes()
    (here / "out" / "before-after.png").unlink()
    again = _finetune(run, model, "--held-out", 1)
    assert again.status == 0 and "resumed from step-00000002" in again.err
    assert (here / "out" / "before-after.png").read_bytes() == sheet
    other = _finetune(run, model, "--seed", 1)
    assert other.status == 2 and "holds a run of another recipe" in other.err
    assert _finetune(run, model, "--seed", 1, "--overwrite").status == 0
    (here / "taken").mkdir()
    (here / "taken" / "letter.txt").write_text("dear")
    refused = _finetune(run, model, "--out", "taken")
    assert refused.status == 2 and "taken is not empty and holds no run" in refused.err


def test_the_corpus_keeps_what_was_known(
    here: Path, model: Path, run: Run, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "absent").mkdir()
    (here / "absent" / "manifest.json").touch()
    monkeypatch.setattr(Corpus, "load", lambda folder=None: tiny_corpus)
    outcome = _finetune(run, model, "--dora", "--rank", 2)
    assert outcome.status == 0, outcome.err
    assert "50% of the samples are the corpus's tasks" in outcome.out
    assert read_metadata(here / "out" / "before-after.png")["before"].keys() == {"own subject", "corpus"}


def test_one_process_fine_tunes(here: Path, model: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = _finetune(run, model, "--dry-run")
    assert outcome.status == 2 and "one process fine-tunes" in outcome.err and outcome.err.count("\n") == 1


def test_memory_that_is_saved_is_said(here: Path, model: Path, run: Run) -> None:
    asked = "engine.activation_checkpointing=true", "data.batch_size=4", "optim.accumulate=4"
    told = _finetune(run, model, "--dry-run", *asked).out
    assert (
        "to save memory: activations are computed again (engine.activation_checkpointing), 4 samples at a time, 4 times"
        in told
    )
    assert "to save memory" not in _finetune(run, model, "--dry-run").out


@pytest.mark.parametrize("kept", [1, 2])
def test_few_pictures_are_said(here: Path, model: Path, run: Run, kept: int) -> None:
    outcome = _finetune(run, model, "--held-out", 4 - kept, "--dry-run")
    assert ("the same picture, distorted" in outcome.out) == (kept == 1)
    assert "3 to 30 are better" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "photos"], "photos holds no picture"),
        (["--images", "absent"], "absent: there is no such folder"),
        (["--model", "maxi"], "unknown model 'maxi'"),
        (["--held-out", "4"], "too few pictures: 4, of which 4 are to be held out"),
        (["--held-out", "-1"], "of which -1 are to be held out"),
        (["--captions", "absent.txt"], "absent.txt: the captions cannot be read"),
        (["--subject", " "], "subject: expected what the pictures show"),
        (["--steps", "0"], "schedule.steps: expected 1 or more"),
        (["--seed", "-1"], "--seed: expected a whole number from 0"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    here: Path, model: Path, run: Run, words: list[str], message: str
) -> None:
    outcome = _finetune(run, model, *words)
    assert outcome.status == 2 and message in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (here / "out").exists()


def test_an_unreadable_picture_is_named(here: Path, model: Path, run: Run) -> None:
    (here / "photos" / "mug" / "5.jpg").write_bytes(np.random.default_rng(0).bytes(100))
    outcome = _finetune(run, model)
    assert outcome.status == 2 and "photos/mug/5.jpg: not a picture" in outcome.err
    assert outcome.err.count("\n") == 1 and not (here / "out").exists()
