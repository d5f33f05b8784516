"""``mentor retokenize``: a model in other codes, from a recipe's pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mentor.checkpoint.store import load_bundle, save_bundle
from mentor.cli.main import main
from mentor.models.image_tokenizer import ImageTokenizer
from tests.cli.test_precompute import tiny_recipe
from tests.data.released_folder import GOOD
from tests.generation.tiny_bundle import CONFIG, tiny_bundle


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A model with 32 codes instead of 64."""
    bundle, codes = tiny_bundle(), replace(CONFIG.image_tokenizer, codebook_size=32)
    config = replace(CONFIG, image_tokenizer=codes, decoder=replace(CONFIG.decoder, vocab_size=32))
    return str(
        save_bundle(tmp_path / "other", type(bundle.mentor)(config), ImageTokenizer(codes), bundle.text_tokenizer)
    )


def test_a_model_takes_anothers_image_tokenizer(
    tmp_path: Path, tiny_model: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tiny_recipe(tmp_path, tiny_model, list(GOOD.values())), tmp_path / "new"
    command = ["retokenize", str(tiny_model), other, "--recipe", str(recipe), "--pictures", "70", "--out", str(out)]
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(out) and "pictures compared: 70 done" in told.err
    written, theirs = load_bundle(out), load_bundle(other)
    assert written.config.decoder.vocab_size == 32
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(written.image_tokenizer.encode(pixels), theirs.image_tokenizer.encode(pixels))
    assert main(["generate", "a red fox", "--model", str(out), "-o", str(tmp_path / "fox.png")]) == 0


def test_mistakes_are_one_line_and_nothing_is_written(
    tmp_path: Path, tiny_model: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = tiny_recipe(tmp_path, tiny_model, list(GOOD.values())), tmp_path / "new"
    for arguments, reason in (
        ([str(tiny_model), other, "--pictures", "0"], "--pictures: expected 1 or more, got 0"),
        ([str(tiny_model), str(tmp_path / "absent")], "absent"),
        (["absent", other], "absent"),
    ):
        assert main(["retokenize", *arguments, "--recipe", str(recipe), "--out", str(out)]) == 2
        told = capsys.readouterr().err.strip()
        assert reason in told and len(told.splitlines()) == 1
        assert not out.exists()
