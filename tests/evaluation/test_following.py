from __future__ import annotations

import numpy as np
import pytest

from mentor.data.corpus import Corpus
from mentor.data.render import render
from mentor.data.scenes import Scene, compose
from mentor.evaluation.checker import parse
from mentor.evaluation.following import asked, follow, match

PLAIN = {"solid": 1.0}


def scene(corpus: Corpus, positions: list[str], sizes: list[str], keys: list[str], seed: int = 0) -> Scene:
    cutouts = {cutout.key: cutout for cutout in corpus.cutouts}
    chosen = [cutouts[key] for key in keys]
    return compose(corpus, np.random.default_rng(seed), chosen, positions=positions, sizes=sizes, backdrops=PLAIN)


def scores(asked_for: Scene, shown: Scene, corpus: Corpus, *, looks: bool = True) -> dict[str, float]:
    parsed = parse(render(shown, corpus, 64).image)
    return follow(asked_for, 0, parsed, match(asked_for, parsed), looks)


BALL, STAR, LAMP = "emoji/purple-ball", "emoji/gold-star", "furniture/green-lamp-0"


@pytest.fixture
def one(tiny_corpus: Corpus) -> Scene:
    return scene(tiny_corpus, ["top left"], ["small"], [BALL])


@pytest.fixture
def pair(tiny_corpus: Corpus) -> Scene:
    return scene(tiny_corpus, ["left", "right"], ["small", "medium"], [BALL, STAR])


def test_what_is_asked_for(tiny_corpus: Corpus, one: Scene, pair: Scene) -> None:
    assert asked(one) == ("background", "number", "position", "size")
    assert asked(pair) == ("background", "number", "position", "size", "second")
    three = scene(tiny_corpus, ["top", "bottom left", "bottom right"], ["small"] * 3, [BALL] * 3)
    assert asked(three) == ("background", "number", "size")


def test_a_true_picture_has_everything(tiny_corpus: Corpus, one: Scene, pair: Scene) -> None:
    assert set(scores(one, one, tiny_corpus).values()) == {1.0}
    assert set(scores(pair, pair, tiny_corpus).values()) == {1.0}


def test_each_mistake_costs_its_own_attribute(tiny_corpus: Corpus, one: Scene) -> None:
    moved = scene(tiny_corpus, ["bottom"], ["small"], [BALL])
    moved = Scene(one.backdrop, moved.objects)
    assert scores(one, moved, tiny_corpus) == {"background": 1, "number": 1, "position": 0, "size": 1}
    grown = Scene(one.backdrop, scene(tiny_corpus, ["top left"], ["large"], [BALL]).objects)
    assert scores(one, grown, tiny_corpus) == {"background": 1, "number": 1, "position": 1, "size": 0}
    doubled = Scene(one.backdrop, scene(tiny_corpus, ["top left", "right"], ["small", "small"], [BALL] * 2).objects)
    assert scores(one, doubled, tiny_corpus) == {"background": 1, "number": 0, "position": 1, "size": 1}
    other = next(
        s
        for s in (scene(tiny_corpus, ["top left"], ["small"], [BALL], seed) for seed in range(1, 50))
        if s.backdrop.colours != one.backdrop.colours
    )
    assert scores(one, Scene(other.backdrop, one.objects), tiny_corpus)["background"] == 0


def test_second_object_must_be_there_and_look_right(tiny_corpus: Corpus, pair: Scene) -> None:
    assert scores(pair, pair, tiny_corpus, looks=False)["second"] == 0
    alone = Scene(pair.backdrop, pair.objects[:1])
    result = scores(pair, alone, tiny_corpus)
    assert result == {"background": 1, "number": 0, "position": 1, "size": 0.5, "second": 0}


def test_arrangement_of_two_copies(tiny_corpus: Corpus) -> None:
    beside = scene(tiny_corpus, ["left", "right"], ["small"] * 2, [STAR] * 2)
    above = Scene(beside.backdrop, scene(tiny_corpus, ["top", "bottom"], ["small"] * 2, [STAR] * 2).objects)
    assert scores(beside, beside, tiny_corpus)["position"] == 1
    assert scores(beside, above, tiny_corpus)["position"] == 0


def test_an_empty_picture_has_the_background_alone(tiny_corpus: Corpus, pair: Scene) -> None:
    result = scores(pair, Scene(pair.backdrop, ()), tiny_corpus)
    assert result == {"background": 1, "number": 0, "position": 0, "size": 0, "second": 0}
