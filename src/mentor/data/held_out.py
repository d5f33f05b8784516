"""The evaluation prompts: held-out subjects in scenes whose every fact can be checked, with strict references."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from mentor.data.catalog import Catalog, catalog_of
from mentor.data.scenes import POSITIONS, SIZES, compose, distinct
from mentor.data.tasks import TASKS, Sample
from mentor.data.words import is_plural

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus, Cutout

Group = Literal["single", "copies", "pair_text", "pair_references"]

# fmt: off
_PATTERN: tuple[Group, ...] = (
    "single", "pair_text", "single", "copies", "pair_references",
    "single", "pair_text", "single", "pair_references", "pair_text",
    "single", "copies", "single", "pair_text", "pair_references",
    "single", "pair_text", "single", "copies", "pair_references",
)
# fmt: on
"""Of 20 prompts 8 place one subject, 3 count copies, 5 add a second object by text and 4 by a second reference."""

_BACKDROPS = {"solid": 0.6, "gradient": 0.4}


def evaluation_prompts(corpus: Corpus, n: int = 240, seed: int = 0, *, size: int = 128) -> list[Sample]:
    """``n`` samples from a corpus that holds held-out cut-outs only (``corpus.split("test")``).

    The single subjects go through all places and sizes in turn; backgrounds are solid or gradient, never photos; no
    reference is the target's own cut-out. ``size`` is the side of the ground-truth picture in pixels. Raises
    ``ValueError`` when the corpus has fewer than two subjects with several pictures.
    """
    if n < 1:
        raise ValueError(f"expected at least 1 evaluation prompt, got {n}")
    # 27 steps through the grid; a stride without a common factor mixes sizes and places from the first prompts on.
    cells = list(product(POSITIONS, SIZES))
    samples: list[Sample] = []
    singles = 0
    used: set[str] = set()
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        group = _PATTERN[number % len(_PATTERN)]
        chosen = _subjects(catalog_of(corpus), rng, group, used)
        place: dict[str, list[str]] = {}
        if group == "single":
            position, size_name = cells[singles * 10 % len(cells)]
            place = {"positions": [position], "sizes": [size_name]}
            singles += 1
        scene = compose(corpus, rng, chosen, backdrops=_BACKDROPS, **place)
        task = "multi" if group == "pair_references" else "subject"
        samples.append(TASKS[task](scene, corpus, int(rng.integers(2**62)), size=size, strict=True))
    return samples


def _subjects(catalog: Catalog, rng: np.random.Generator, group: Group, used: set[str]) -> list[Cutout]:
    """The scene's cut-outs; no noun leads a second prompt before all have led one."""
    fitting = {
        family[0].noun
        for family in catalog.identities.values()
        if len(family) > 1 and not (group == "copies" and is_plural(family[0].subject))
    }
    if fitting <= used:
        used -= fitting
    left = fitting - used
    first = catalog.pick(
        rng, views=2, accept=lambda one: one.noun in left and not (group == "copies" and is_plural(one.subject))
    )
    used.add(first.noun)
    if group == "single":
        return [first]
    if group == "copies":
        return [first] * int(rng.integers(2, 4))
    views = 2 if group == "pair_references" else 1
    second = catalog.pick(rng, views=views, accept=lambda other: distinct(first, other))
    return [first, second] if rng.random() < 0.5 else [second, first]
