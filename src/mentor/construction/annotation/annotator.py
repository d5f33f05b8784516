"""One picture through the pipeline: caption, names, places, masks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from PIL import Image

from mentor.construction.annotation.description import CAPTION_REQUEST, objects_request, parse_caption, parse_objects
from mentor.construction.annotation.location import Location, Units, location_request, parse_location
from mentor.construction.annotation.quality import MaskLimits, refusal
from mentor.construction.annotation.segmentation import Mask, Segmenter
from mentor.vlm.asker import Asker
from mentor.vlm.client import Turn, encode_jpeg

TRIES = 3
"""How often a question is asked before an answer that cannot be read is given up."""
LONGEST, MULTIPLE = 1008, 28
"""The model is shown pictures whose longer side has at most so many pixels, and whose sides are multiples of 28: such ones
Qwen2.5-VL does not resize, so that its pixels are those of the picture that was sent."""

T = TypeVar("T")


class Unusable(Exception):
    """Why a picture gives no records."""


@dataclass(frozen=True)
class Named:
    """One object with everything that was found out about it."""

    name: str
    location: Location
    mask: Mask


@dataclass(frozen=True)
class Annotation:
    """What a picture shows."""

    caption: str
    objects: list[Named]
    left_out: dict[str, str] = field(default_factory=dict)
    """Objects that were named, and why they are not used."""


@dataclass(frozen=True)
class Annotator:
    """Asks ``asker``'s model and ``segmenter``; may be called by several threads, which share one segmenter."""

    asker: Asker
    segmenter: Segmenter
    units: Units = "thousandths"
    most_objects: int = 5
    limits: MaskLimits = field(default_factory=MaskLimits)
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, picture: Image.Image) -> Annotation:
        """The annotation of an RGB picture.

        Raises:
            Unusable: no caption, or a list of objects that cannot be read.
            QuestionFailed, ModelDown: see ``Asker.ask``.
        """
        shown = for_model(picture)
        look = Turn("user", CAPTION_REQUEST, (encode_jpeg(shown),))
        caption = self._understood((look,), parse_caption, "caption")
        names = self._understood(
            (look, Turn("assistant", caption), Turn("user", objects_request(self.most_objects))),
            lambda text: parse_objects(text, self.most_objects),
            "objects",
        )
        places: list[tuple[str, Location]] = []
        left_out: dict[str, str] = {}
        for name in names:
            try:
                place = self._place(name, shown)
            except Unusable as error:
                left_out[name] = str(error)
            else:
                if place is None:
                    left_out[name] = "the model does not see it"
                else:
                    places.append((name, place))
        with self._turn:
            masks = self.segmenter(picture, [place for _, place in places])
        objects: list[Named] = []
        for (name, place), mask in zip(places, masks, strict=True):
            reason = refusal(mask, place, [each.mask for each in objects], self.limits)
            if reason is None:
                objects.append(Named(name, place, mask))
            else:
                left_out[name] = reason
        return Annotation(caption, objects, left_out)

    def _place(self, name: str, shown: Image.Image) -> Location | None:
        question = Turn("user", location_request(name, shown.size, self.units), (encode_jpeg(shown),))
        return self._understood((question,), lambda text: parse_location(text, shown.size, self.units), "place")

    def _understood(self, dialogue: tuple[Turn, ...], parse: Callable[[str], T], what: str) -> T:
        name, reason = self.asker.name(dialogue), ""
        for attempt in range(TRIES):
            reply = self.asker.ask(dialogue, name, attempt=attempt, note={"about": what})
            try:
                return parse(reply.text)
            except ValueError as error:
                reason = str(error)
        raise Unusable(f"{what}: {reason} ({TRIES} tries)")


def for_model(picture: Image.Image) -> Image.Image:
    """The picture as the vision-language model is shown it: never enlarged beyond the next multiple, its shape nearly kept."""
    scale = min(1.0, LONGEST / max(picture.size))
    size = tuple(max(MULTIPLE, round(length * scale / MULTIPLE) * MULTIPLE) for length in picture.size)
    return picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC)
