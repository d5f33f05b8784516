from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mentor import MentorPipeline
from mentor.config.sampling import GenerationSettings
from mentor.evaluation.pictures import PictureStore, PipelinePainter, check_folder
from mentor.prompt import Prompt
from tests.evaluation.conftest import FakePainter
from tests.generation.tiny_bundle import tiny_bundle

RED, BLUE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
PROMPTS = [Prompt("a cat"), Prompt("a dog"), Prompt("<image> again", [RED])]


def painter() -> FakePainter:
    return FakePainter(lambda prompt, seed: Image.new("RGB", (64, 64), (len(prompt.text), seed, 7)))


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    check_folder(tmp_path / "out")
    return PictureStore(tmp_path / "out", batch_size=2)


def test_each_prompt_gets_its_own_picture_in_batches(store: PictureStore) -> None:
    fake = painter()
    pictures = store.pictures(fake, PROMPTS, [4, 5, 6])
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(5, 4, 7), (5, 5, 7), (13, 6, 7)]
    assert fake.batches == [2, 1]


def test_what_is_there_is_not_made_again(store: PictureStore) -> None:
    first = painter()
    store.pictures(first, PROMPTS[:2], [0, 1])
    again = painter()
    told: list[tuple[str, int, int]] = []
    pictures = store.pictures(again, PROMPTS, [0, 1, 2], what="x", progress=lambda *news: told.append(news))
    assert (first.calls, again.calls) == (2, 1)
    assert len(pictures) == 3 and told == [("x", 3, 3)]


@pytest.mark.parametrize("changed", ["seed", "text", "image", "model"])
def test_whatever_changes_the_picture_makes_it_anew(store: PictureStore, changed: str) -> None:
    store.pictures(painter(), [Prompt("<image> again", [RED])], [0])
    fake = painter()
    if changed == "model":
        fake.fingerprint = "two"
    prompt = Prompt("<image> twice" if changed == "text" else "<image> again", [BLUE if changed == "image" else RED])
    store.pictures(fake, [prompt], [1 if changed == "seed" else 0])
    assert fake.calls == 1


def test_a_killed_run_leaves_whole_pictures_only(store: PictureStore) -> None:
    def stops(prompt: Prompt, seed: int) -> Image.Image:
        if seed == 2:
            raise KeyboardInterrupt
        return RED

    with pytest.raises(KeyboardInterrupt):
        store.pictures(FakePainter(stops), PROMPTS, [0, 1, 2])
    files = sorted((store.folder / "images").iterdir())
    assert len(files) == 2 and all(file.suffix == ".png" for file in files)
    rest = painter()
    store.pictures(rest, PROMPTS, [0, 1, 2])
    assert rest.calls == 1


def test_refusals(store: PictureStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch size"):
        PictureStore(store.folder, 0).pictures(painter(), PROMPTS, [0, 1, 2])
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        check_folder(tmp_path / "file" / "inside")


def test_a_model_that_is_put_together_otherwise_is_another_painter() -> None:
    """Positions, activations and fits are no weights, and change every picture."""
    bundle = tiny_bundle()
    other = replace(bundle.config, decoder=replace(bundle.config.decoder, prefix_rope="zero"))
    renamed = replace(bundle.config, name="another name")
    one, two, three = (
        PipelinePainter(MentorPipeline(replace(bundle, config=config), device="cpu"), "m", GenerationSettings())
        for config in (bundle.config, other, renamed)
    )
    assert one.fingerprint != two.fingerprint and one.fingerprint == three.fingerprint
