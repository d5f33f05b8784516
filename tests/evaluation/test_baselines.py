from __future__ import annotations

import pytest
from PIL import Image

from mentor.data.corpus import Corpus
from mentor.data.held_out import evaluation_prompts
from mentor.evaluation.baselines import CopyReference, IgnoreReference, caption_of
from mentor.prompt import Prompt
from tests.evaluation.conftest import FakePainter

RED = Image.new("RGB", (20, 10), "red")


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("The cat in <image>.\na cat on a mat", "a cat on a mat"),
        ("The image is <image>\n", ""),
        ("one line\nand another", "one line\nand another"),
    ],
)
def test_the_caption_is_what_is_left_without_the_references(text: str, caption: str) -> None:
    assert caption_of(Prompt(text, [RED] * text.count("<image>"))) == caption


def test_copying_gives_the_reference_itself() -> None:
    (picture,) = CopyReference()([Prompt("The cat in <image>.\na cat", [RED])], [0])
    assert picture.size == RED.size and picture.tobytes() == RED.tobytes()
    with pytest.raises(ValueError, match="no reference"):
        CopyReference()([Prompt("a cat")], [0])


def test_ignoring_shows_the_model_the_caption_alone() -> None:
    asked: list[tuple[str, int, int]] = []

    def answer(prompt: Prompt, seed: int) -> Image.Image:
        asked.append((prompt.text, len(prompt.images), seed))
        return RED

    painter = FakePainter(answer)
    ignoring = IgnoreReference(painter)
    ignoring([Prompt("The cat in <image>.\na cat", [RED])], [7])
    assert asked == [("a cat", 0, 7)]
    assert ignoring.fingerprint != painter.fingerprint and "ignore" in ignoring.name
    with pytest.raises(ValueError, match="no words"):
        ignoring([Prompt("The image is <image>\n", [RED])], [0])


def test_a_scenes_caption_is_what_stands_below_its_references(small_corpus: Corpus) -> None:
    for sample in evaluation_prompts(small_corpus.split("test"), 24, 0, size=64):
        caption = caption_of(sample.prompt)
        assert sample.prompt.images and caption == sample.prompt.text.splitlines()[-1]
        assert any(word in caption for word in sample.scene.objects[0].subject.split())
