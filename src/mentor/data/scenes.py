"""Scenes with known ground truth: which objects, where, how large, how many, on what background.

A ``Scene`` is pure data in units of the canvas, so that one scene can be drawn at every resolution. The grid of places:

    top left    | top    | top right
    left        | center | right
    bottom left | bottom | bottom right
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, permutations
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from mentor.data.backdrops import BACKDROPS, Backdrop, sample_backdrop
from mentor.data.catalog import Catalog, catalog_of
from mentor.data.words import is_plural, without_size

if TYPE_CHECKING:
    from mentor.data.corpus import Corpus, Cutout

T = TypeVar("T")
Kind = Literal["single", "copies", "pair"]

KINDS: dict[Kind, float] = {"single": 0.55, "copies": 0.12, "pair": 0.33}
"""How often a scene shows one object, two or three copies of one subject, or two different subjects."""

POSITIONS: dict[str, tuple[int, int]] = {
    "top left": (0, 0),
    "top": (1, 0),
    "top right": (2, 0),
    "left": (0, 1),
    "center": (1, 1),
    "right": (2, 1),
    "bottom left": (0, 2),
    "bottom": (1, 2),
    "bottom right": (2, 2),
}
"""Name -> (column, row) of the 3 x 3 grid."""

SIZES: dict[str, float] = {"small": 0.28, "medium": 0.41, "large": 0.58}
"""Name -> longest side as a share of the canvas; every use changes it by at most the share ``SIZE_JITTER``."""

SIZE_JITTER = 0.03
MARGIN = 0.02
"""Free border around every object, as a share of the canvas."""

_CELL = (0.21, 0.5, 0.79)
_PAIR_POSITIONS: tuple[tuple[str, str], ...] = tuple(
    (one, two)
    for one, two in permutations(POSITIONS, 2)
    if max(abs(POSITIONS[one][0] - POSITIONS[two][0]), abs(POSITIONS[one][1] - POSITIONS[two][1])) == 2
)
_PLAIN_PAIRS = (("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top"))
_COPIES: dict[int, tuple[tuple[str, ...], ...]] = {
    2: (("left", "right"), ("top", "bottom")),
    3: (("top", "bottom left", "bottom right"),),
}


@dataclass(frozen=True)
class SceneObject:
    """One object: the cut-out's key, the words that name it, and its place."""

    key: str
    subject: str
    style: str
    position: str
    """A name of ``POSITIONS``."""
    size: str
    """A name of ``SIZES``."""
    centre: tuple[float, float]
    """(x, y) of the bounding box's middle, 0..1 from the top left corner."""
    extent: tuple[float, float]
    """(width, height) of the bounding box as shares of the canvas; the longer one is near ``SIZES[size]``."""


@dataclass(frozen=True)
class Scene:
    """A background and one to three objects that never overlap."""

    backdrop: Backdrop
    objects: tuple[SceneObject, ...]

    @property
    def kind(self) -> Kind:
        """``single``, ``copies`` (one subject several times) or ``pair`` (two subjects)."""
        if len(self.objects) == 1:
            return "single"
        return "copies" if len(self.subjects) == 1 else "pair"

    @property
    def subjects(self) -> tuple[str, ...]:
        """The different subjects, in the order of the objects."""
        return tuple(dict.fromkeys(item.subject for item in self.objects))

    def showing(self, subject: str) -> tuple[int, ...]:
        """Indices of the objects that show ``subject``."""
        return tuple(number for number, item in enumerate(self.objects) if item.subject == subject)


def size_of(longest_side: float) -> str:
    """Name of the size nearest (as a ratio) to a longest side given as a share of the canvas."""
    return min(SIZES, key=lambda name: abs(np.log(max(longest_side, 1e-6) / SIZES[name])))


def place(catalog: Catalog, cutout: Cutout, position: str, size: str, rng: np.random.Generator) -> SceneObject:
    """Put a cut-out into a grid cell: near the cell's middle, wholly inside the canvas, its size moved a little."""
    longest = SIZES[size] * (1 + SIZE_JITTER * rng.uniform(-1, 1))
    shape = catalog.shape(cutout.key)
    width, height = (side * longest / max(shape) for side in shape)
    column, row = POSITIONS[position]
    x = _along(column, width, rng)
    y = _along(row, height, rng)
    return SceneObject(cutout.key, without_size(cutout.subject), cutout.style, position, size, (x, y), (width, height))


def _along(cell: int, extent: float, rng: np.random.Generator) -> float:
    reach = extent / 2 + MARGIN
    return float(min(1 - reach, max(reach, _CELL[cell] + rng.uniform(-0.02, 0.02))))


def compose(
    corpus: Corpus,
    rng: np.random.Generator,
    cutouts: Sequence[Cutout],
    *,
    positions: Sequence[str] | None = None,
    sizes: Sequence[str] | None = None,
    backdrops: Mapping[str, float] = BACKDROPS,
) -> Scene:
    """Scene of the given cut-outs (the same one repeated makes copies); places and sizes are random unless given.

    The background is one that the objects stand out from. Raises ``ValueError`` for cut-outs that cannot be placed.
    """
    if not 1 <= len(cutouts) <= 3:
        raise ValueError(f"expected 1 to 3 cut-outs in a scene, got {len(cutouts)}")
    copies = len(cutouts) > 1 and len({cutout.key for cutout in cutouts}) == 1
    if len(cutouts) == 3 and not copies:
        raise ValueError("expected three cut-outs to be copies of one: a scene shows at most two different subjects")
    if positions is None:
        positions = _positions(len(cutouts), copies, rng)
    if sizes is None:
        names = list(SIZES) if len(cutouts) == 1 else ["small", "medium"]
        drawn = [names[int(rng.integers(len(names)))] for _ in cutouts]
        sizes = drawn[:1] * len(cutouts) if copies else drawn
    catalog = catalog_of(corpus)
    objects = tuple(
        place(catalog, cutout, where, large, rng)
        for cutout, where, large in zip(cutouts, positions, sizes, strict=True)
    )
    return Scene(sample_backdrop(catalog, rng, [(o.key, o.centre, o.extent) for o in objects], backdrops), objects)


def _positions(count: int, copies: bool, rng: np.random.Generator) -> tuple[str, ...]:
    options: Sequence[tuple[str, ...]]
    if count == 1:
        options = [(name,) for name in POSITIONS]
    elif copies:
        options = _COPIES[count]
    else:
        # Sides opposite each other are what people write most; the corners keep the rest of the grid alive.
        options = _PLAIN_PAIRS if rng.random() < 0.5 else _PAIR_POSITIONS
    return options[int(rng.integers(len(options)))]


def sample_scene(
    corpus: Corpus,
    rng: np.random.Generator,
    *,
    kinds: Mapping[Kind, float] = KINDS,
    backdrops: Mapping[str, float] = BACKDROPS,
    views: int = 1,
    views_of_all: bool = False,
) -> Scene:
    """Random scene; subjects are balanced over sources.

    One subject's identity (``views_of_all``: every subject's) has at least ``views`` cut-outs, which is what a
    reference that differs from the target needs.
    """
    catalog: Catalog = catalog_of(corpus)
    kind = choose(kinds, rng)
    # Of "scissors" or "houses" nobody can say how many a picture of several copies shows.
    first = catalog.pick(rng, views=views, accept=lambda one: kind != "copies" or not is_plural(one.subject))
    chosen = [first]
    if kind == "copies":
        chosen *= 2 if rng.random() < 0.5 else 3
    elif kind == "pair":
        chosen.append(
            catalog.pick(rng, views=views if views_of_all else 1, accept=lambda other: distinct(first, other))
        )
        if rng.random() < 0.5:
            chosen.reverse()
    return compose(corpus, rng, chosen, backdrops=backdrops)


def distinct(one: Cutout, two: Cutout) -> bool:
    """Whether two cut-outs show different things, so that each can be named without mixing them up."""
    return one.noun != two.noun and one.concept != two.concept and one.subject != two.subject


def choose(weights: Mapping[T, float], rng: np.random.Generator) -> T:
    """A key of ``weights``, drawn in proportion to its weight."""
    marks = list(accumulate(weights.values()))
    return list(weights)[bisect_right(marks, rng.random() * marks[-1])]
