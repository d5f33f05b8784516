"""The mixture: shares, splits, purity, and clear refusals."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from mentor.data.mixture import Mixture
from mentor.data.tasks import TASKS, Sample

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus

WEIGHTS = {"text_to_image": 2.0, "segment": 1.0, "subject": 1.0, "recover": 0.0}


def same(one: Sample, two: Sample) -> bool:
    return (
        one.task == two.task
        and one.scene == two.scene
        and one.prompt.text == two.prompt.text
        and one.target.tobytes() == two.target.tobytes()
        and [image.tobytes() for image in one.prompt.images] == [image.tobytes() for image in two.prompt.images]
    )


def test_tasks_come_in_the_stated_shares(tiny_corpus: Corpus) -> None:
    mixture = Mixture(tiny_corpus, WEIGHTS, "train", 16, 0)
    seen = Counter(mixture.sample(index).task for index in range(800))
    assert set(seen) == {"text_to_image", "segment", "subject"}
    assert math.isclose(seen["text_to_image"] / 800, 0.5, abs_tol=0.06)
    assert math.isclose(seen["segment"] / 800, 0.25, abs_tol=0.06)


def test_a_sample_depends_on_seed_and_index_alone(tiny_corpus: Corpus) -> None:
    weights = dict.fromkeys(TASKS, 1.0)
    mixture = Mixture(tiny_corpus, weights, "train", 32, 3)
    forwards = [mixture.sample(index) for index in range(12)]
    fresh = Mixture(tiny_corpus, weights, "train", 32, 3)
    backwards = [fresh.sample(index) for index in reversed(range(12))][::-1]
    assert all(map(same, forwards, backwards))
    other = Mixture(tiny_corpus, weights, "train", 32, 4)
    assert not any(same(sample, other.sample(index)) for index, sample in enumerate(forwards))


def test_size_changes_the_picture_and_nothing_else(tiny_corpus: Corpus) -> None:
    small, large = (Mixture(tiny_corpus, {"subject": 1.0}, "train", size, 0).sample(5) for size in (64, 128))
    assert small.scene == large.scene
    assert small.prompt.text == large.prompt.text
    assert (small.target.size, large.target.size) == ((64, 64), (128, 128))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_never_shows_the_other(tiny_corpus: Corpus, split: str) -> None:
    allowed = {cutout.key for cutout in tiny_corpus.cutouts if cutout.split == split}
    photos = {background.key for background in tiny_corpus.backgrounds if background.split == split} | {""}
    mixture = Mixture(tiny_corpus, dict.fromkeys(TASKS, 1.0), split, 16, 0)
    for index in range(150):
        sample = mixture.sample(index)
        assert {item.key for item in sample.scene.objects} | set(sample.references) <= allowed
        assert sample.scene.backdrop.photo in photos


def test_strict_references_differ_from_the_target(tiny_corpus: Corpus) -> None:
    mixture = Mixture(tiny_corpus, {"subject": 1.0, "multi": 1.0}, "train", 16, 0, strict=True)
    for index in range(100):
        sample = mixture.sample(index)
        assert sample.references
        assert not set(sample.references) & {sample.scene.objects[number].key for number in sample.shown}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"segmnt": 1.0}, "did you mean 'segment'"),
        ({"segment": -1.0}, "at least 0.*-1"),
        ({"segment": float("nan")}, "finite"),
        ({"segment": 0.0}, "above 0"),
        ({}, "at least one task"),
    ],
)
def test_bad_weights_are_refused(tiny_corpus: Corpus, weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture(tiny_corpus, weights, "train", 64, 0)


def test_an_unknown_split_or_size_is_refused(tiny_corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="validation"):
        Mixture(tiny_corpus, WEIGHTS, "validation", 64, 0)
    with pytest.raises(ValueError, match="at least 8"):
        Mixture(tiny_corpus, WEIGHTS, "train", 4, 0)


def test_where_every_subject_has_one_picture_no_other_can_be_asked_for(tiny_corpus: Corpus) -> None:
    """As in packs built on demand: held-out samples then show the same cut-out in another light, as those trained on do."""
    from mentor.data.corpus import Corpus

    first = {cutout.identity: cutout for cutout in reversed(tiny_corpus.cutouts)}
    single = Corpus(cutouts=sorted(first.values(), key=lambda cutout: cutout.key), backgrounds=tiny_corpus.backgrounds)
    mixture = Mixture(single, {"subject": 1.0, "multi": 1.0}, "test", 32, 0, strict=True)
    assert {mixture.sample(index).task for index in range(8)} == {"subject", "multi"}
    assert Mixture(tiny_corpus, {"subject": 1.0}, "test", 32, 0, strict=True).strict
