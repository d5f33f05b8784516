from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mentor.data.corpus import Corpus
from mentor.data.held_out import evaluation_prompts
from mentor.data.render import render
from mentor.data.scenes import Scene, SceneObject
from mentor.data.tasks import Sample
from mentor.evaluation.pixels import fitted
from mentor.evaluation.scene_judge import Judge, Score, Subjects
from mentor.models.perceptual import STLPIPS

N = 30


@pytest.fixture(scope="module")
def samples(small_corpus: Corpus) -> list[Sample]:
    return evaluation_prompts(small_corpus.split("test"), N, 0, size=64)


@pytest.fixture(scope="module")
def subjects(small_corpus: Corpus, trunk: STLPIPS) -> Subjects:
    return Subjects(small_corpus, trunk)


@pytest.fixture(scope="module")
def judge(subjects: Subjects, samples: list[Sample]) -> Judge:
    return Judge(subjects, samples)


def means(scores: list[Score]) -> tuple[float, float]:
    return float(np.mean([score.cp for score in scores])), float(np.mean([score.pf for score in scores]))


def recast(sample: Sample, corpus: Corpus, by: Sample) -> Image.Image:
    """The sample's true scene with another prompt's subject in every place."""
    key = by.scene.objects[0].key
    cutout = next(cutout for cutout in corpus.cutouts if cutout.key == key).image

    def swapped(item: SceneObject) -> SceneObject:
        longest = max(item.extent)
        extent = (cutout.width * longest / max(cutout.size), cutout.height * longest / max(cutout.size))
        x, y = (
            float(np.clip(at, side / 2 + 0.02, 0.98 - side / 2)) for at, side in zip(item.centre, extent, strict=True)
        )
        return SceneObject(key, by.scene.objects[0].subject, item.style, item.position, item.size, (x, y), extent)

    return render(Scene(sample.scene.backdrop, tuple(map(swapped, sample.scene.objects))), corpus, 64).image


def test_anchors_lie_apart(judge: Judge) -> None:
    assert judge.anchors.auc >= 0.9
    assert judge.anchors.true_target > judge.anchors.other_subject + 0.2


def test_true_pictures_score_about_one(judge: Judge, samples: list[Sample]) -> None:
    cp, pf = means(judge.score([sample.target for sample in samples]))
    # CP's upper anchor is the mean of these very pictures, and what lies above it is clipped.
    assert 0.8 <= cp <= 1
    assert pf >= 0.97


def test_another_subject_in_the_right_scene_keeps_following_but_no_concept(
    judge: Judge, samples: list[Sample], small_corpus: Corpus
) -> None:
    others = [recast(sample, small_corpus, samples[(number + 13) % N]) for number, sample in enumerate(samples)]
    cp, pf = means(judge.score(others))
    assert cp <= 0.25
    assert pf >= 0.8


def test_copied_references_keep_the_concept_and_follow_nothing(judge: Judge, samples: list[Sample]) -> None:
    cp, pf = means(judge.score([fitted(sample.prompt.images[0].convert("RGB"), (64, 64)) for sample in samples]))
    assert cp >= 0.65
    assert pf <= 0.4


def test_empty_pictures_score_no_concept(judge: Judge) -> None:
    scores = judge.score([Image.new("RGB", (64, 64), "white")] * N)
    assert all(score.cp == 0 and score.attributes["number"] == 0 for score in scores)


def test_a_picture_does_not_change_the_score_of_another(judge: Judge, samples: list[Sample]) -> None:
    truth = [sample.target for sample in samples]
    mixed = [truth[0], *([Image.new("RGB", (64, 64), "red")] * (N - 1))]
    first, alone = judge.score(truth)[0], judge.score(mixed)[0]
    assert alone.cp == pytest.approx(first.cp, abs=1e-4)
    assert alone.attributes == first.attributes


def test_refuses_prompts_that_give_no_anchor(subjects: Subjects, samples: list[Sample]) -> None:
    with pytest.raises(ValueError, match="at least one evaluation prompt"):
        Judge(subjects, [])
    with pytest.raises(ValueError, match="two different subjects"):
        Judge(subjects, samples[:1])
