"""Captions: short, complete, and different in words only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mentor.data.captions import ARRANGEMENTS, NUMBER_WORDS, POSITION_WORDS, SIZE_WORDS, caption
from mentor.data.colours import COLOURS
from mentor.data.scenes import Scene, sample_scene
from mentor.data.words import is_plural, plural, with_article, without_size

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus


def captioned(corpus: Corpus, count: int = 300) -> list[tuple[Scene, str]]:
    pairs = []
    for number in range(count):
        rng = np.random.default_rng([9, number])
        scene = sample_scene(corpus, rng)
        pairs.append((scene, caption(scene, rng)))
    return pairs


def says(text: str, phrases: tuple[str, ...]) -> bool:
    return any(f" {phrase} " in f" {text.replace(',', ' ')} " for phrase in phrases)


def test_everything_is_mentioned(tiny_corpus: Corpus) -> None:
    for scene, text in captioned(tiny_corpus):
        for item in scene.objects:
            assert says(text, SIZE_WORDS[item.size]), text
            if scene.kind == "copies":
                assert says(text, (plural(item.subject),)), text
            else:
                assert says(text, (item.subject,)), text
                assert says(text, POSITION_WORDS[item.position]), text
        if scene.kind == "copies":
            assert says(text, (NUMBER_WORDS[len(scene.objects)],)), text
            if len(scene.objects) == 2:
                assert says(text, ARRANGEMENTS[tuple(item.position for item in scene.objects)]), text
        if scene.backdrop.kind == "photo":
            assert "photo" in text
        else:
            behind = text.replace(",", " ")
            for subject in scene.subjects:
                behind = behind.replace(plural(subject), "").replace(subject, "")
            assert tuple(word for word in behind.split() if word in COLOURS) == scene.backdrop.colours, text


def test_nothing_else_is_mentioned(tiny_corpus: Corpus) -> None:
    for scene, text in captioned(tiny_corpus):
        for size, words in SIZE_WORDS.items():
            if size not in {item.size for item in scene.objects}:
                assert not says(text, words), text
        others = {cutout.subject for cutout in tiny_corpus.cutouts} - set(scene.subjects)
        assert not any(says(text, (other, plural(other))) for other in others), text


def test_each_object_keeps_its_own_size_and_place(tiny_corpus: Corpus) -> None:
    pairs = [(scene, text) for scene, text in captioned(tiny_corpus) if scene.kind == "pair"]
    assert len(pairs) > 50
    for scene, text in pairs:
        first, second = text.split(" and ", 1)
        for item, part in zip(scene.objects, (first, second), strict=True):
            assert says(part, (item.subject,)), text
            assert says(part, SIZE_WORDS[item.size]), text
            assert says(part, (POSITION_WORDS[item.position][0],)), text


def test_the_style_is_said_when_it_must_be_and_else_about_half_the_time(tiny_corpus: Corpus) -> None:
    rng = np.random.default_rng(3)
    scene = sample_scene(tiny_corpus, rng, kinds={"single": 1.0})
    item = scene.objects[0]
    styled = f"{item.style} {item.subject}"
    assert all(styled in caption(scene, rng, styled=[item.subject]) for _ in range(50))
    assert 0.4 < np.mean([styled in caption(scene, rng) for _ in range(500)]) < 0.6


def test_captions_are_short(tiny_corpus: Corpus) -> None:
    assert max(len(text.split()) for _, text in captioned(tiny_corpus)) <= 26


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("red apple", "red apples"),
        ("fox", "foxes"),
        ("cherry", "cherries"),
        ("key", "keys"),
        ("mouse", "mice"),
        ("goldfish", "goldfish"),
        ("bookshelf", "bookshelves"),
        ("bowl with salad", "bowls with salad"),
        ("ear of corn", "ears of corn"),
        ("octopus", "octopuses"),
        ("rhinoceros", "rhinoceroses"),
        ("wine glass", "wine glasses"),
        ("scissors", "scissors"),
        ("tomato", "tomatoes"),
        ("ox", "oxen"),
        ("human", "humans"),
    ],
)
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_a_size_in_a_name_is_dropped() -> None:
    assert without_size("small step ladder") == "step ladder"
    assert without_size("little") == "little"
    assert without_size("red apple") == "red apple"


def test_articles() -> None:
    assert with_article("orange background", False) == "an orange background"
    assert with_article("umbrella", False) == "an umbrella"
    assert with_article("unicorn", False) == "a unicorn"
    assert with_article("scissors", is_plural("scissors")) == "scissors"
    assert with_article("fork and knife", is_plural("fork and knife")) == "fork and knife"
    assert not is_plural("bus")
    assert not is_plural("cloud with lightning and rain")
    assert not is_plural("glass of beans")
