from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mentor.data.corpus import Corpus
from mentor.evaluation.statistics import auc
from mentor.evaluation.subject_features import CROP, GRAY, SUBJECT, SubjectFeatures, similarity, subject_crop
from mentor.models.perceptual import STLPIPS


@pytest.fixture(scope="module")
def features(tiny_corpus: Corpus, trunk: STLPIPS) -> SubjectFeatures:
    return SubjectFeatures(trunk, [subject_crop(cutout.image) for cutout in tiny_corpus.split("train").cutouts])


def test_crop_holds_the_masked_part_only() -> None:
    picture = Image.new("RGB", (40, 40), (0, 200, 0))
    picture.paste((200, 0, 0), (10, 10, 30, 20))
    mask = np.zeros((40, 40), dtype=bool)
    mask[10:20, 10:30] = True
    crop = np.asarray(subject_crop(picture, mask)).astype(int)
    assert crop.shape == (CROP, CROP, 3)
    red = (np.abs(crop - (200, 0, 0)) < 3).all(axis=-1)
    gray = (crop == GRAY).all(axis=-1)
    assert red.sum() == SUBJECT * SUBJECT // 2
    assert (red | gray).all()


def test_crop_of_nothing_is_gray() -> None:
    crop = subject_crop(Image.new("RGB", (20, 20), "white"), np.zeros((20, 20), dtype=bool))
    assert (np.asarray(crop) == GRAY).all()


def test_crop_forgets_place_and_scale(tiny_corpus: Corpus, features: SubjectFeatures) -> None:
    cutout = tiny_corpus.cutouts[0].image
    one = Image.new("RGBA", (128, 128))
    one.paste(cutout.resize((60, 60 * cutout.height // cutout.width)), (3, 50))
    two = Image.new("RGBA", (200, 200))
    two.paste(cutout.resize((120, 120 * cutout.height // cutout.width)), (70, 10))
    described = features.describe([subject_crop(one), subject_crop(two)])
    assert similarity(described[[0]], described[[1]])[0] > 0.9


def test_similarity_is_one_for_equal_crops_and_symmetric(tiny_corpus: Corpus, features: SubjectFeatures) -> None:
    described = features.describe([subject_crop(cutout.image) for cutout in tiny_corpus.cutouts])
    assert similarity(described, described) == pytest.approx(np.ones(len(tiny_corpus.cutouts)), abs=1e-5)
    turned = described[np.arange(len(tiny_corpus.cutouts))[::-1]]
    assert similarity(described, turned) == pytest.approx(similarity(turned, described))


def test_does_not_depend_on_the_batch(tiny_corpus: Corpus, features: SubjectFeatures) -> None:
    crops = [subject_crop(cutout.image) for cutout in tiny_corpus.cutouts[:5]]
    together, alone = features.describe(crops), features.describe(crops[2:3])
    assert together.trunk[2] == pytest.approx(alone.trunk[0], abs=1e-4)


def test_tells_held_out_individuals_apart(small_corpus: Corpus, trunk: STLPIPS) -> None:
    common = [subject_crop(cutout.image) for cutout in small_corpus.split("train").cutouts]
    features = SubjectFeatures(trunk, common)
    families = list(small_corpus.by_identity("test").values())
    one = features.describe([subject_crop(family[0].image) for family in families])
    two = features.describe([subject_crop(family[1].image) for family in families])
    same = similarity(one, two)
    other = np.concatenate([similarity(one, two[np.roll(np.arange(len(families)), shift)]) for shift in (1, 3, 7)])
    assert auc(same.tolist(), other.tolist()) >= 0.9


def test_needs_something_in_common(trunk: STLPIPS) -> None:
    with pytest.raises(ValueError, match="at least 2 crops"):
        SubjectFeatures(trunk, [])
