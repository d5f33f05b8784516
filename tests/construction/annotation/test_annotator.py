"""One picture through the pipeline: what a model thinks is no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mentor.construction.annotation.annotator import Annotator, Unusable, check_units, without_thoughts
from mentor.construction.annotation.segmentation import Contrast
from mentor.vlm.asker import Asker
from mentor.vlm.client import Reply, Turn
from tests.construction.annotation.seeing_model import shapes


class Thinking:
    """Says each of its thoughts before the answer, which the words of the question choose."""

    name, threads = "thinks", 1
    settings: Mapping[str, Any] = {}

    def __init__(self, opening: str, *, ends: bool = True) -> None:
        self.opening, self.ends = opening, ends
        self.asked: list[Sequence[Turn]] = []

    def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        self.asked.append(dialogue)
        thoughts, answer = next(said for words, said in SAID.items() if words in dialogue[-1].text)
        return Reply(f"{self.opening}{thoughts}{'</think>' if self.ends else ''}\n{answer}")


SAID = {
    "That cannot be used": ("Once more.", "A red square on white."),
    "Describe": ("A blue disc I think, no.", "A red square on white."),
    "JSON list": ('They want e.g. ["blue disc", "cat"].', '["red square"]'),
    "red square": (
        'Like {"box": [0, 0, 50, 50]}? No.',
        '{"box": [100, 200, 350, 600], "points": [[200, 300]]}',
    ),
}


@pytest.fixture
def picture() -> Image.Image:
    return shapes(["red square"])[0]


@pytest.mark.parametrize("opening", ["<think>", "<think>One.</think> <think>", ""])
def test_names_and_places_are_not_read_out_of_thoughts(opening: str, picture: Image.Image, tmp_path: Path) -> None:
    """Nor where the model's template has opened them."""
    found = Annotator(Asker(Thinking(opening), tmp_path, seed=0), Contrast())(picture)
    assert found.caption == "A red square on white."
    assert [(each.name, each.location.box) for each in found.objects] == [("red square", (0.1, 0.2, 0.35, 0.6))]
    assert found.left_out == {}


def test_thoughts_without_an_end_are_no_answer_and_are_not_given_back(picture: Image.Image, tmp_path: Path) -> None:
    model = Thinking("<think>", ends=False)
    with pytest.raises(Unusable, match="expected a sentence"):
        Annotator(Asker(model, tmp_path, seed=0), Contrast())(picture)
    assert not any("<think>" in turn.text for turn in model.asked[-1])


def test_the_units_are_not_read_out_of_thoughts(tmp_path: Path) -> None:
    class Counting(Thinking):
        def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
            return Reply('<think>{"box": [0, 0, 9, 9]}</think>{"box": [600, 500, 800, 800]}')

    assert check_units(Annotator(Asker(Counting(""), tmp_path, seed=0), Contrast())) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [("A fox.", "A fox."), ("a</think>b</think>c", "c"), ("<think>a", ""), ("a</think>b<think>c", ""), ("", "")],
)
def test_what_follows_thoughts(text: str, answer: str) -> None:
    assert without_thoughts(text) == answer
