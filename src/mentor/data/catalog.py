"""Look-ups over a corpus that scenes need all the time: by key, by identity, balanced picks, colours of an edge."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.data.colours import lab
from mentor.data.recolour import turned

if TYPE_CHECKING:
    from mentor.data.corpus import Background, Corpus, Cutout

EDGE_SAMPLES = 64
"""Edge pixels kept of each cut-out."""

DECODED = 4096
"""Cut-outs kept decoded (about 40 KB each), those used last."""

THUMBNAIL = 24
"""Side of the small L*a*b* copy of a background photo."""


class Catalog:
    """Index of one corpus: keys, identities, source groups and cached edge colours."""

    def __init__(self, corpus: Corpus) -> None:
        if not corpus.cutouts:
            raise ValueError("expected a corpus with cut-outs, got none: build one or choose another split")
        self.cutouts: dict[str, Cutout] = {cutout.key: cutout for cutout in corpus.cutouts}
        self.backgrounds: dict[str, Background] = {background.key: background for background in corpus.backgrounds}
        self.identities: dict[str, list[Cutout]] = {}
        for cutout in corpus.cutouts:
            self.identities.setdefault(cutout.identity, []).append(cutout)
        self._photos = tuple(self.backgrounds)
        self._choices: dict[int, tuple[list[list[list[Cutout]]], list[float]]] = {}
        self._edges: dict[str, NDArray[np.float64]] = {}
        self._shapes: dict[str, tuple[int, int]] = {}
        # The corpus decodes a picture at every access; decoded, all of them would fill the memory of a small machine.
        self.picture = lru_cache(maxsize=DECODED)(self._picture)
        self.photo = lru_cache(maxsize=DECODED // 16)(self._photo)
        self._thumbnails: dict[str, NDArray[np.float64]] = {}

    def _picture(self, key: str) -> Image.Image:
        """A cut-out's pixels as RGBA; shared, so never to be changed in place."""
        cutout = self.cutouts[key]
        picture = cutout.image.convert("RGBA")
        return turned(picture, cutout.turn) if cutout.turn else picture

    def _photo(self, key: str) -> Image.Image:
        """A background photo's pixels as RGB; shared, so never to be changed in place."""
        return self.backgrounds[key].image.convert("RGB")

    def shape(self, key: str) -> tuple[int, int]:
        """(width, height) of a cut-out in pixels."""
        if key not in self._shapes:
            self._shapes[key] = self.cutouts[key].image.size
        return self._shapes[key]

    def siblings(self, cutout: Cutout) -> list[Cutout]:
        """The other cut-outs of the same individual; empty when it has one picture only."""
        return [other for other in self.identities[cutout.identity] if other.key != cutout.key]

    def pick(
        self,
        rng: np.random.Generator,
        *,
        views: int = 1,
        accept: Callable[[Cutout], bool] | None = None,
        tries: int = 50,
    ) -> Cutout:
        """A cut-out of an identity that has at least ``views`` pictures: first a source, then an identity, then a view.

        A source is taken in proportion to the square root of its identities, so that large emoji sets do not drown the
        furniture. Raises ``ValueError`` when no identity fits.
        """
        groups, cumulative = self._groups(views)
        for _ in range(tries):
            group = groups[int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))]
            family = group[int(rng.integers(len(group)))]
            cutout = family[int(rng.integers(len(family)))]
            if accept is None or accept(cutout):
                return cutout
        # Rejected so often that listing what is left is cheaper than going on.
        left = [cutout for group in groups for family in group for cutout in family if accept is None or accept(cutout)]
        if not left:
            raise ValueError("expected at least one more subject in the corpus that fits the scene, found none")
        return left[int(rng.integers(len(left)))]

    def pick_photo(self, rng: np.random.Generator) -> Background | None:
        """A background photo, or None when the corpus has none."""
        if not self._photos:
            return None
        return self.backgrounds[self._photos[int(rng.integers(len(self._photos)))]]

    def _groups(self, views: int) -> tuple[list[list[list[Cutout]]], list[float]]:
        if views not in self._choices:
            by_source: dict[str, list[list[Cutout]]] = {}
            for family in self.identities.values():
                if len(family) >= views:
                    by_source.setdefault(family[0].source, []).append(family)
            if not by_source:
                raise ValueError(f"expected subjects with at least {views} pictures in the corpus, found none")
            groups = [by_source[source] for source in sorted(by_source)]
            self._choices[views] = (groups, list(accumulate(sqrt(len(group)) for group in groups)))
        return self._choices[views]

    def edge(self, key: str) -> NDArray[np.float64]:
        """L*a*b* colours [E, 3] of pixels just inside the outline of a cut-out."""
        if key not in self._edges:
            image = self.picture(key)
            opaque = np.asarray(image.getchannel("A")) >= 128
            band = np.flatnonzero(opaque & ~_inside(opaque))
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
            if len(band) == 0:
                band = np.arange(len(pixels))
            chosen = band[np.linspace(0, len(band) - 1, min(EDGE_SAMPLES, len(band))).astype(int)]
            self._edges[key] = lab(pixels[chosen])
        return self._edges[key]

    def thumbnail(self, key: str) -> NDArray[np.float64]:
        """A background photo shrunk to a square, in L*a*b*, [THUMBNAIL, THUMBNAIL, 3]."""
        if key not in self._thumbnails:
            image = self.photo(key)
            self._thumbnails[key] = lab(np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)))
        return self._thumbnails[key]


def _inside(mask: NDArray[np.bool_], reach: int = 2) -> NDArray[np.bool_]:
    """Where a mask [h, w] has nothing but itself within ``reach`` pixels, diagonals too; beyond its border lies nothing."""
    inside = np.pad(mask, reach)
    for axis in (0, 1):
        inside = np.logical_and.reduce(
            np.lib.stride_tricks.sliding_window_view(inside, 2 * reach + 1, axis=axis), axis=-1
        )
    return inside


_catalogs: dict[int, tuple[weakref.ref[Corpus], Catalog]] = {}


def catalog_of(corpus: Corpus) -> Catalog:
    """The corpus's catalog, made once and kept as long as the corpus lives."""
    known = _catalogs.get(id(corpus))
    if known is not None and known[0]() is corpus:
        return known[1]
    catalog = Catalog(corpus)
    number = id(corpus)
    _catalogs[number] = (weakref.ref(corpus, lambda _: _catalogs.pop(number, None)), catalog)
    return catalog
