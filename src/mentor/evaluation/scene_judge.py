"""Scores answers to the evaluation prompts: concept preservation (CP) and prompt following (PF) of every picture.

CP is the similarity of the subject in the picture to the reference's cut-out (``features``), put on a scale with two
anchors that are measured on the same prompts: 0 is the mean similarity of another subject's true picture, 1 that of the
true target, which shows another view or style than the reference. It is clipped to [0, 1] picture by picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data.tasks import Sample
from mentor.evaluation.checker import Found, Parsed, parse
from mentor.evaluation.following import follow, match, second
from mentor.evaluation.statistics import auc
from mentor.evaluation.subject_features import Described, SubjectFeatures, similarity, similarity_table, subject_crop

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus
    from mentor.models.perceptual import STLPIPS

COMMON = 512
"""Training cut-outs from which the part that all subjects share is learned."""
SHIFTS = (1, 5, 11)
"""Prompt i's reference is set against the target of prompt i + shift for the lower anchor."""
LIKE = 0.8
"""The second object looks right when its concept comes before this share of all held-out concepts."""


@dataclass(frozen=True)
class Score:
    """One picture's scores, each in [0, 1]."""

    cp: float
    attributes: dict[str, float]

    @property
    def pf(self) -> float:
        """Mean over the attributes that the prompt asks for."""
        return float(np.mean(list(self.attributes.values())))


@dataclass(frozen=True)
class Anchors:
    """Mean similarities that CP's 0 and 1 stand for, and how well the features tell the two apart."""

    other_subject: float
    true_target: float
    auc: float
    """Chance that a true target is more like the reference than another subject is."""


class Subjects:
    """The held-out cut-outs of ``corpus`` as features, in the order of the corpus.

    What all subjects share is learned from ``COMMON`` cut-outs of its training part, drawn with one seed. Raises
    ``ValueError`` with fewer than two of those.
    """

    def __init__(self, corpus: Corpus, trunk: STLPIPS) -> None:
        train, test = corpus.split("train").cutouts, corpus.split("test").cutouts
        chosen = np.random.default_rng(0).permutation(len(train))[:COMMON]
        self._features = SubjectFeatures(trunk, [subject_crop(train[number].image) for number in chosen])
        self.described = self._features.describe([subject_crop(cutout.image) for cutout in test])
        self.row = {cutout.key: row for row, cutout in enumerate(test)}
        self.identity = {cutout.key: cutout.identity for cutout in test}
        concepts = {concept: row for row, concept in enumerate(sorted({cutout.concept for cutout in test}))}
        self.concept = {cutout.key: concepts[cutout.concept] for cutout in test}
        rows = np.array([self.concept[cutout.key] for cutout in test])
        self.members = [np.flatnonzero(rows == concept) for concept in range(len(concepts))]

    def describe(self, crops: Sequence[Image.Image]) -> Described:
        """Features of other crops, comparable with ``described``."""
        return self._features.describe(crops)


class Judge:
    """Knows the prompts' references, targets and anchors; scores any set of answers to them.

    ``subjects`` are those of the corpus that the prompts were drawn from: among their concepts the second object is looked
    up. Raises ``ValueError`` without samples or with too few to set the anchors.
    """

    def __init__(self, subjects: Subjects, samples: Sequence[Sample]) -> None:
        if not samples:
            raise ValueError("expected at least one evaluation prompt, got none")
        self.subjects, self.samples = subjects, samples
        self.anchors = self._measure_anchors()

    def score(self, pictures: Sequence[Image.Image]) -> list[Score]:
        """Scores of one picture for each sample, in their order; pictures are square and RGB."""
        read = [self._read(sample, picture) for sample, picture in zip(self.samples, pictures, strict=True)]
        looks = self._second_looks_right(read)
        subjects = self._subjects(read)
        low, high = self.anchors.other_subject, self.anchors.true_target
        scores = []
        for number, (sample, (_, parsed, matched)) in enumerate(zip(self.samples, read, strict=True)):
            alike = np.clip((subjects[number] - low) / (high - low), 0, 1)
            attributes = follow(sample.scene, sample.shown[0], parsed, matched, looks[number])
            scores.append(Score(float(np.mean(alike)), attributes))
        return scores

    def _read(self, sample: Sample, picture: Image.Image) -> _Reading:
        parsed = parse(picture)
        return picture, parsed, match(sample.scene, parsed)

    def _subjects(self, read: Sequence[_Reading]) -> list[NDArray[np.float64]]:
        """For each sample the similarity of every reference with the subject found for it; -inf where nothing was found."""
        crops, rows, owners = [], [], []
        result = [np.full(len(sample.references), -np.inf) for sample in self.samples]
        for number, (sample, (picture, parsed, matched)) in enumerate(zip(self.samples, read, strict=True)):
            for place, (key, shown) in enumerate(zip(sample.references, sample.shown, strict=True)):
                found = _stands_for(sample, parsed, matched, shown)
                if found is not None:
                    crops.append(subject_crop(picture, found.mask))
                    rows.append(self.subjects.row[key])
                    owners.append((number, place))
        if crops:
            alike = similarity(self.subjects.described[rows], self.subjects.describe(crops))
            for (number, place), value in zip(owners, alike, strict=True):
                result[number][place] = value
        return result

    def _second_looks_right(self, read: Sequence[_Reading]) -> list[bool]:
        """Whether the object found for a pair's second subject is more like its concept than like most other concepts."""
        result = [False] * len(self.samples)
        crops, owners = [], []
        for number, (sample, (picture, _, matched)) in enumerate(zip(self.samples, read, strict=True)):
            if sample.scene.kind == "pair":
                other = second(sample.scene, sample.shown[0])
                found = matched[other]
                if found is not None:
                    crops.append(subject_crop(picture, found.mask))
                    owners.append((number, self.subjects.concept[sample.scene.objects[other].key]))
        if not crops:
            return result
        table = similarity_table(self.subjects.describe(crops), self.subjects.described)
        for alike, (number, concept) in zip(table, owners, strict=True):
            best = np.array([alike[members].max() for members in self.subjects.members])
            below = np.delete(best, concept) < best[concept]
            result[number] = bool(len(below) == 0 or below.mean() >= LIKE)
        return result

    def _measure_anchors(self) -> Anchors:
        read = [self._read(sample, sample.target) for sample in self.samples]
        keys, crops = [], []
        for sample, (picture, parsed, matched) in zip(self.samples, read, strict=True):
            found = _stands_for(sample, parsed, matched, sample.shown[0])
            if found is not None:
                keys.append(sample.references[0])
                crops.append(subject_crop(picture, found.mask))
        identities = [self.subjects.identity[key] for key in keys]
        pairs = [(i, (i + shift) % len(keys)) for shift in SHIFTS for i in range(len(keys))]
        pairs = [(i, j) for i, j in pairs if identities[i] != identities[j]]
        if not pairs:
            raise ValueError("expected prompts with at least two different subjects; ask for more of them")
        references = self.subjects.described[[self.subjects.row[key] for key in keys]]
        targets = self.subjects.describe(crops)
        true = similarity(references, targets)
        other = similarity(references[[i for i, _ in pairs]], targets[[j for _, j in pairs]])
        if true.mean() <= other.mean():
            raise ValueError(
                f"the features cannot tell subjects apart on {len(self.samples)} prompts; ask for more of them"
            )
        return Anchors(float(other.mean()), float(true.mean()), auc(true.tolist(), other.tolist()))


_Reading = tuple[Image.Image, Parsed, list[Found | None]]


def _stands_for(sample: Sample, parsed: Parsed, matched: Sequence[Found | None], shown: int) -> Found | None:
    """What is compared with a reference: of a pair the object nearest to the asked place, else the largest object."""
    largest = parsed.objects[0] if parsed.objects else None
    return (matched[shown] or largest) if sample.scene.kind == "pair" else largest
