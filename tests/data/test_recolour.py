"""Recoloured cut-outs: hues turn, greys and alpha stay, families stay families, words alone are not recoloured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mentor.data.catalog import catalog_of
from mentor.data.corpus import Corpus
from mentor.data.mixture import Mixture
from mentor.data.recolour import TURNS, recoloured, turned
from mentor.data.tasks import TASKS


@pytest.fixture(scope="module")
def plain(tiny_corpus: Corpus) -> Corpus:
    """The training split, no subject named by its colour."""
    cutouts = [replace(cutout, subject=cutout.noun) for cutout in tiny_corpus.split("train").cutouts]
    return Corpus(cutouts, tiny_corpus.split("train").backgrounds)


def test_a_third_of_the_circle_moves_every_channel_on() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    moved = np.asarray(turned(Image.fromarray(pixels), 1 / 3)).astype(int)
    assert np.abs(moved - pixels[..., [2, 0, 1, 3]]).max() <= 1
    back = np.asarray(turned(turned(Image.fromarray(pixels), 1 / 3), 2 / 3)).astype(int)
    assert np.abs(back - pixels).max() <= 2


@pytest.mark.parametrize("number", range(1, TURNS + 1))
def test_greys_and_alpha_stay(number: int) -> None:
    grey = np.arange(256, dtype=np.uint8)
    pixels = np.stack([grey, grey, grey, grey[::-1]], axis=-1)[None]
    after = np.asarray(turned(Image.fromarray(pixels), number / (TURNS + 1))).astype(int)
    assert np.abs(after - pixels).max() <= 1


def test_red_goes_round_the_circle() -> None:
    red = Image.new("RGBA", (1, 1), (200, 40, 40, 255))
    seen = {turned(red, number / (TURNS + 1)).getpixel((0, 0)) for number in range(1, TURNS + 1)}
    assert len(seen) == TURNS
    assert turned(red, 0.5).getpixel((0, 0))[0] < 60  # type: ignore[index]


def test_every_subject_becomes_several_of_its_own(plain: Corpus) -> None:
    named = [replace(cutout, subject=f"red {cutout.subject}", key=f"{cutout.key}-red") for cutout in plain.cutouts[:2]]
    others = recoloured(Corpus([*plain.cutouts, *named], plain.backgrounds))
    assert len(others.cutouts) == TURNS * len(plain.cutouts)
    assert len({cutout.key for cutout in others.cutouts}) == len(others.cutouts)
    before, after = plain.by_identity("train"), others.by_identity("train")
    for name, family in before.items():
        for number in range(1, TURNS + 1):
            views = after[f"{name}~{number}"]
            assert [(one.view, one.style) for one in views] == [(one.view, one.style) for one in family]
            assert len({one.turn for one in views}) == 1
    first = others.cutouts[0]
    original = catalog_of(plain).picture(first.key.partition("~")[0])
    assert catalog_of(others).picture(first.key).tobytes() == turned(original, first.turn).tobytes()


def test_what_a_reference_shows_is_recoloured_and_what_words_ask_for_is_not(plain: Corpus) -> None:
    weights = dict.fromkeys(TASKS, 1.0)
    always = Mixture(plain, weights, "train", 32, 0, recolour=1.0)
    seen = set()
    for index in range(60):
        sample = always.sample(index)
        changed = {"~" in key for key in (*sample.references, *(item.key for item in sample.scene.objects))}
        assert changed == {sample.task != "text_to_image"}
        # One subject, one colour: in the reference and in the target.
        for key, place in zip(sample.references, sample.shown, strict=True):
            assert key.partition("~")[2] == sample.scene.objects[place].key.partition("~")[2]
        seen.add(sample.task)
    assert seen == set(TASKS)
    sometimes = Mixture(plain, {"recover": 1.0}, "train", 32, 0, recolour=0.5)
    share = np.mean(["~" in sometimes.sample(index).scene.objects[0].key for index in range(200)])
    assert 0.4 < share < 0.6
    with pytest.raises(ValueError, match=r"share from 0 to 1 to be recoloured, got 1\.5"):
        Mixture(plain, weights, "train", 32, 0, recolour=1.5)
