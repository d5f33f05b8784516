"""Which masks are good enough to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from mentor.construction.annotation.location import Location
from mentor.construction.annotation.segmentation import Mask


@dataclass(frozen=True)
class MaskLimits:
    """What a mask must be. Raises ``ValueError`` for a limit that is no share."""

    min_score: float = 0.8
    """How sure the segmenter must be."""
    min_area: float = 0.005
    """Share of the picture that a mask covers at least; at 512 pixels a square of 36."""
    max_area: float = 0.8
    """At most: what covers more is the scene itself."""
    min_inside: float = 0.9
    """Share of the mask that lies in the object's box: the rest is something else."""
    min_extent: float = 0.5
    """Intersection over union of the box around the mask with the object's: a part of the object has a smaller one."""
    min_points: float = 0.5
    """Share of the object's points that lie on the mask."""
    max_overlap: float = 0.7
    """Intersection over union with the mask of an object named before: more is the same thing under two names."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 <= getattr(self, each.name) <= 1:
                raise ValueError(f"{each.name.replace('_', '-')}: expected 0 to 1, got {getattr(self, each.name)}")


def refusal(mask: Mask, location: Location, before: Sequence[Mask], limits: MaskLimits) -> str | None:
    """Why a mask is not used, with the measured number; None for a good one. ``before``: the masks used so far."""
    pixels = mask.pixels
    height, width = pixels.shape
    area = float(pixels.mean())
    if not area:
        return "the mask is empty"
    if mask.score < limits.min_score:
        return f"the segmenter's score is {mask.score:.2f}"
    if not limits.min_area <= area <= limits.max_area:
        return f"covers {area:.2%} of the picture"
    box = np.zeros_like(pixels)
    left, top, right, bottom = location.box
    # A pixel beyond the edge is still inside: boxes are rounded.
    box[int(top * height) : int(np.ceil(bottom * height)) + 1, int(left * width) : int(np.ceil(right * width)) + 1] = (
        True
    )
    inside = float((pixels & box).sum() / pixels.sum())
    if inside < limits.min_inside:
        return f"only {inside:.0%} lie in its box"
    extent = np.zeros_like(pixels)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    extent[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    agree = float((extent & box).sum() / (extent | box).sum())
    if agree < limits.min_extent:
        return f"its extent agrees with its box by {agree:.0%}"
    on = location.on(pixels)
    if on is not None and on < limits.min_points:
        return f"{round(on * len(location.points))} of its {len(location.points)} points lie on it"
    for number, other in enumerate(before, 1):
        overlap = float((pixels & other.pixels).sum() / (pixels | other.pixels).sum())
        if overlap > limits.max_overlap:
            return f"overlaps object {number} by {overlap:.0%}"
    return None
