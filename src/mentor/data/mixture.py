"""An endless, reproducible stream of samples: tasks in given proportions, each drawn from (seed, index) alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from mentor.data.recolour import recoloured
from mentor.data.scenes import KINDS, Kind, choose, sample_scene
from mentor.data.tasks import TASKS, Sample

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus


@dataclass(frozen=True)
class _Recipe:
    """Which scenes a task is drawn from."""

    kinds: Mapping[Kind, float]
    several_views: float = 0.0
    """How often the referenced subjects have several pictures, so that reference and target differ."""
    views_of_all: bool = False


_RECIPES: dict[str, _Recipe] = {
    "text_to_image": _Recipe(KINDS),
    "reconstruct": _Recipe(KINDS),
    "segment": _Recipe({"single": 0.3, "copies": 0.05, "pair": 0.65}),
    "recover": _Recipe({"single": 0.65, "copies": 0.05, "pair": 0.3}),
    "subject": _Recipe({"single": 0.6, "copies": 0.12, "pair": 0.28}, several_views=0.75),
    "multi": _Recipe({"pair": 1.0}, several_views=0.65, views_of_all=True),
}


class Mixture:
    """Samples of several tasks from one split of a corpus.

    ``weights`` gives each task's share (they need not sum to 1), ``size`` the target's side in pixels. With ``strict``
    a reference never is the target's own cut-out, where subjects have other pictures. ``recolour``: how often subjects that
    a picture shows beforehand have other colours than their own (``data.recolour``). Raises ``ValueError`` for an unknown
    task, a weight that is negative or not finite, weights that are all zero, and a split without cut-outs.
    """

    def __init__(
        self,
        corpus: Corpus,
        weights: Mapping[str, float],
        split: str,
        size: int,
        seed: int,
        *,
        strict: bool = False,
        recolour: float = 0.0,
    ) -> None:
        for name, weight in weights.items():
            if name not in TASKS:
                near = get_close_matches(name, TASKS, n=1)
                hint = f": did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"expected tasks among {', '.join(TASKS)}, got {name!r}{hint}")
            if not math.isfinite(weight) or weight < 0:
                raise ValueError(f"expected a finite weight of at least 0 for {name!r}, got {weight}")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise ValueError(f"expected at least one task with a weight above 0, got {dict(weights)}")
        if size < 8:
            raise ValueError(f"expected a picture side of at least 8 pixels, got {size}")
        if not 0 <= recolour <= 1:
            raise ValueError(f"expected a share from 0 to 1 to be recoloured, got {recolour}")
        self.corpus = corpus.split(split)
        if not self.corpus.cutouts:
            raise ValueError(f"expected cut-outs in the split {split!r} of the corpus, found none")
        self.size = size
        self.seed = seed
        self.recolour = recolour
        self.recoloured = recoloured(self.corpus) if recolour else self.corpus
        pictures: dict[str, int] = {}
        for cutout in self.corpus.cutouts:
            pictures[cutout.identity] = pictures.get(cutout.identity, 0) + 1
        # Two, because the second subject of a multi-image scene needs another individual with several pictures.
        self._several = sum(count > 1 for count in pictures.values()) > 1
        self.strict = strict and self._several

    def sample(self, index: int) -> Sample:
        """Sample number ``index`` (0 or more): the same one whenever corpus, weights, seed and index are the same."""
        rng = np.random.default_rng([self.seed, index])
        task = choose(self.weights, rng)
        recipe = _RECIPES[task]
        several = rng.random() < recipe.several_views and self._several
        views = 2 if several or (self.strict and recipe.several_views > 0) else 1
        # What words alone ask for has the colours that it is known by.
        other = bool(self.recolour) and task != "text_to_image" and rng.random() < self.recolour
        corpus = self.recoloured if other else self.corpus
        scene = sample_scene(corpus, rng, kinds=recipe.kinds, views=views, views_of_all=recipe.views_of_all)
        return TASKS[task](scene, corpus, int(rng.integers(2**62)), size=self.size, strict=self.strict)
