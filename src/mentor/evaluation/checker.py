"""Reads a picture of a composed scene back into attributes, by classical image processing alone.

The scenes (``mentor.data.scenes``) put one to three objects on a background: one named colour, a vertical gradient of two, or
a photo. The checker goes the other way: background, foreground, then objects with their place and size. It never sees the
prompt, so nothing can leak from what was asked to what is found.

R is the side of the picture in pixels; colours and their distances are CIE L*a*b* (black to white is 100).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mentor.data.colours import COLOURS, lab
from mentor.data.scenes import MARGIN, POSITIONS, size_of

FRAME = 1 / 16
"""Width of the border that counts as background at first, as a share of R."""
SAMPLES = 800
"""About so many pixels of the border are looked at."""
CAP = 25.0
"""Distance from a background beyond which a border pixel is no evidence about it."""
OTHER = 14.0
"""A border whose median distance from every plain background is larger is neither solid nor a gradient."""
LOWEST, HIGHEST, SHARE = 8.0, 22.0, 0.5
"""A pixel is foreground from this share of its part's own distance on, but never below or above the two limits."""
SMOOTHING = 0.009
"""Width of the blur that quiets single pixels before they are compared, as a share of R."""
CLEAR = 18.0
"""Distance that a part must reach somewhere; the scenes give every object edges of at least 22."""
SPECK = 0.0025
"""A part with less than this share of the picture beyond ``CLEAR`` is a stray mark."""
STRAY = 0.04
"""So is a group of marks smaller than this share of the largest group."""
GAP = 0.06
"""Parts nearer to each other than this share of R are parts of one object."""
APART = 0.44
"""Least distance of two objects' centres along one axis, as a share of R; the scenes' grid keeps at least 0.5."""


@dataclass(frozen=True)
class Ground:
    """What lies behind the objects: ``solid`` with one colour name, ``gradient`` with two (top, bottom), else ``other``."""

    kind: str
    colours: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Found:
    """One object found in a picture."""

    mask: NDArray[np.bool_]
    """[R, R]."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom, 0..1 from the top left corner."""

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the box's middle, 0..1."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> str:
        """Name of the size class nearest to the box's longest side."""
        left, top, right, bottom = self.box
        return size_of(max(right - left, bottom - top))

    @property
    def position(self) -> str:
        """Name of the grid cell in which an object of this extent would lie nearest to where it was found."""
        left, top, right, bottom = self.box
        x, y = self.centre
        place = (_cell(x, right - left), _cell(y, bottom - top))
        return next(name for name, cell in POSITIONS.items() if cell == place)


@dataclass(frozen=True, eq=False)
class Parsed:
    """A picture as the checker sees it; ``objects`` from the largest area to the smallest."""

    ground: Ground
    objects: tuple[Found, ...]
    foreground: NDArray[np.bool_]
    """[R, R]."""


def parse(picture: Image.Image) -> Parsed:
    """Background and objects of a square RGB picture of any size (made for 64 and 128 pixels).

    Raises ``ValueError`` for a picture that is not square or has a side below 16 pixels.
    """
    if picture.width != picture.height or picture.width < 16:
        raise ValueError(f"expected a square picture of at least 16 pixels, got {picture.width} x {picture.height}")
    ground, distance, noise = _ground(np.asarray(picture.convert("RGB"), dtype=float))
    foreground = _foreground(distance, noise)
    return Parsed(ground, _objects(foreground), foreground)


@lru_cache(maxsize=4)
def _plain_grounds(side: int) -> tuple[list[Ground], NDArray[np.float64]]:
    """Every plain background that a scene can have, and its colour in each row: [grounds, R, 3]."""
    pairs = [(top, bottom) for top in COLOURS for bottom in COLOURS]
    grounds = [Ground("solid", (top,)) if top == bottom else Ground("gradient", (top, bottom)) for top, bottom in pairs]
    ends = np.array([[COLOURS[top], COLOURS[bottom]] for top, bottom in pairs], dtype=float)
    down = np.linspace(0, 1, side)[:, None]
    return grounds, lab(ends[:, :1] * (1 - down) + ends[:, 1:] * down)


def _ground(pixels: NDArray[np.float64]) -> tuple[Ground, NDArray[np.float64], float]:
    """The plain background that explains the border best, every pixel's distance from it, and the noise around it.

    ``pixels`` are sRGB 0..255, [R, R, 3]. A generated colour is never quite the named one, so the distance is taken from a
    line fitted to the rows of the picture (sRGB = a + b * row, as gradients are drawn), starting from the best named one.
    """
    side = len(pixels)
    width = max(2, round(FRAME * side))
    border = np.ones((side, side), dtype=bool)
    border[width:-width, width:-width] = False
    rows, columns = np.nonzero(border)
    sparse = slice(None, None, max(1, len(rows) // SAMPLES))
    rows, columns = rows[sparse], columns[sparse]
    shown = pixels[rows, columns]
    seen = lab(shown)
    grounds, ramps = _plain_grounds(side)
    errors = np.linalg.norm(seen - ramps[:, rows], axis=-1)
    best = int(np.minimum(errors, CAP).mean(axis=1).argmin())
    plain = np.median(errors[best]) < OTHER

    design = np.stack((np.ones(side), np.linspace(0, 1, side)), axis=1)
    weights = (errors[best] < CAP).astype(float) if plain else np.ones(len(rows))
    for _ in range(6):
        line = np.linalg.lstsq(design[rows] * weights[:, None], shown * weights[:, None], rcond=None)[0]
        fitted = lab(design @ line)
        error = np.linalg.norm(seen - fitted[rows], axis=1)
        noise = max(1.0, float(np.quantile(error, 0.75)))
        # Least squares near by, least absolute deviations far out: objects that touch the border hardly count.
        weights = np.sqrt((error < CAP) / np.maximum(error, noise) + 1e-9)
    ground = grounds[best] if plain else Ground("other", ())
    smooth = ndimage.gaussian_filter(pixels, (SMOOTHING * side, SMOOTHING * side, 0))
    return ground, np.linalg.norm(lab(smooth) - fitted[:, None], axis=-1), noise


def _foreground(distance: NDArray[np.float64], noise: float) -> NDArray[np.bool_]:
    """Pixels that are not background, holes filled, faint and small parts dropped: bool [R, R].

    A generated object has a faint halo. The threshold of every part is therefore a share of how far the part itself is
    from the background, where twice the noise and ``HIGHEST`` allow it.
    """
    labels, count = _parts(distance > max(LOWEST, 2 * noise))
    clear = distance > CLEAR
    own = np.full(count + 1, np.inf)
    for part in np.unique(labels[clear & (labels > 0)]):
        level = np.median(distance[clear & (labels == part)])
        own[part] = min(HIGHEST, max(LOWEST, 2 * noise, SHARE * level))
    labels, count = _parts(distance > own[labels])
    seen = np.bincount(labels[clear], minlength=count + 1)
    seen[0] = 0
    return (seen >= SPECK * distance.size)[labels]


def _parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Connected parts, holes filled: labels [R, R] (0 outside) and their number."""
    labels, count = ndimage.label(ndimage.binary_fill_holes(mask), structure=np.ones((3, 3)))
    return labels, int(count)


def _objects(foreground: NDArray[np.bool_]) -> tuple[Found, ...]:
    """Groups of near parts; groups that are too close together to be two objects of a scene are one."""
    side = len(foreground)
    reach = max(1, round(GAP * side / 2))
    near = ndimage.binary_dilation(foreground, structure=np.ones((2 * reach + 1, 2 * reach + 1)))
    labels, count = ndimage.label(near, structure=np.ones((3, 3)))
    groups = [(labels == number) & foreground for number in range(1, count + 1)]
    groups.sort(key=lambda mask: -int(mask.sum()))
    groups = [mask for mask in groups if mask.sum() >= STRAY * groups[0].sum()]
    while (pair := _touching(groups)) is not None:
        one, two = pair
        groups[one] = groups[one] | groups.pop(two)
    return tuple(Found(mask, _box(mask)) for mask in sorted(groups, key=lambda mask: -int(mask.sum())))


def _touching(groups: list[NDArray[np.bool_]]) -> tuple[int, int] | None:
    """Indices of the nearest two groups if they belong together, else None."""
    boxes = [_box(mask) for mask in groups]
    pairs = [(_distance(boxes[one], boxes[two]), one, two) for one, two in combinations(range(len(groups)), 2)]
    nearest = min(pairs, default=(1.0, 0, 0))
    return nearest[1:] if nearest[0] < APART else None


def _distance(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    """The larger of the horizontal and the vertical distance of two boxes' centres, as a share of R."""
    return max(abs(one[0] + one[2] - two[0] - two[2]), abs(one[1] + one[3] - two[1] - two[3])) / 2


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    box = Image.fromarray(mask).getbbox()
    assert box is not None, "an empty mask"
    left, top, right, bottom = (edge / len(mask) for edge in box)
    return left, top, right, bottom


def _cell(centre: float, extent: float) -> int:
    """Which third of the grid (0, 1, 2) along one axis; wide objects are pushed inwards by the canvas's edge."""
    reach = extent / 2 + MARGIN
    middles = [min(max(middle, reach), max(1 - reach, reach)) for middle in (0.21, 0.5, 0.79)]
    return int(np.abs(np.array(middles) - centre).argmin())
