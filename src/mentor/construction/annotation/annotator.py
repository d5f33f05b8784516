"""One picture through the pipeline: caption, names, places, masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from PIL import Image, ImageDraw

from mentor.construction.annotation.description import CAPTION_REQUEST, objects_request, parse_caption, parse_objects
from mentor.construction.annotation.location import Location, Units, location_request, parse_location
from mentor.construction.annotation.quality import MaskLimits, refusal
from mentor.construction.annotation.segmentation import Mask, Segmenter
from mentor.vlm.asker import Asker
from mentor.vlm.client import ModelDown, QuestionFailed, Turn, encode_jpeg

TRIES = 3
"""How often a question is asked before an answer that cannot be read is given up."""
LONGEST_ANSWER = 2000
"""Characters of such an answer that are given back."""
UNITS_SIZE = (1008, 672)
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
    """Asks ``asker``'s model and ``segmenter``; may be called by several threads."""

    asker: Asker
    segmenter: Segmenter
    units: Units = "thousandths"
    most_objects: int = 5
    limits: MaskLimits = field(default_factory=MaskLimits)

    def __call__(self, picture: Image.Image, attempt: int = 0) -> Annotation:
        """The annotation of an RGB picture; another ``attempt`` asks anew.

        Raises:
            Unusable: no caption.
            QuestionFailed, ModelDown: see ``Asker.ask``.
        """
        shown = for_model(picture)
        jpeg = encode_jpeg(shown)
        look = Turn("user", CAPTION_REQUEST, (jpeg,), pictures_first=True)
        caption = self._understood((look,), parse_caption, "caption", attempt)
        left_out: dict[str, str] = {}
        names: list[str] = []
        try:
            names = self._understood(
                (look, Turn("assistant", caption), Turn("user", objects_request(self.most_objects))),
                lambda text: parse_objects(text, self.most_objects),
                "objects",
                attempt,
            )
        except Unusable as error:
            left_out["objects"] = str(error)
        places: list[tuple[str, Location]] = []
        for name in names:
            try:
                place = self.place(name, jpeg, shown.size, attempt)
            except Unusable as error:
                left_out[name] = str(error)
            else:
                if place is None:
                    left_out[name] = "the model does not see it"
                else:
                    places.append((name, place))
        objects: list[Named] = []
        for (name, place), mask in zip(places, self.segmenter(picture, [place for _, place in places]), strict=True):
            reason = refusal(mask, place, [each.mask for each in objects], self.limits)
            if reason is None:
                objects.append(Named(name, place, mask))
            else:
                left_out[name] = reason
        return Annotation(caption, objects, left_out)

    def place(self, name: str, jpeg: bytes, size: tuple[int, int], attempt: int = 0) -> Location | None:
        """Where an object is in a picture that was made by ``for_model``; None where the model does not see it.

        Raises as a call does.
        """
        question = Turn("user", location_request(name, size, self.units), (jpeg,), pictures_first=True)
        return self._understood((question,), lambda text: parse_location(text, size, self.units), "place", attempt)

    def _understood(self, dialogue: tuple[Turn, ...], parse: Callable[[str], T], what: str, attempt: int) -> T:
        """An answer that can be read; one that cannot goes back with the reason: the same question would get the same."""
        reason = ""
        for _ in range(TRIES):
            reply = self.asker.ask(dialogue, self.asker.name(dialogue), attempt=attempt, note={"about": what})
            answer = without_thoughts(reply.text)
            try:
                if reply.cut:
                    raise ValueError("the answer is too long")
                return parse(answer)
            except ValueError as error:
                reason = str(error)
            again = f"That cannot be used: {reason}. Answer once more, only in the form that was asked for."
            dialogue = (*dialogue, Turn("assistant", answer[:LONGEST_ANSWER]), Turn("user", again))
        raise Unusable(f"{what}: {reason} ({TRIES} tries)")


def check_units(annotator: Annotator) -> str | None:
    """Whether the model counts places as ``annotator.units`` says, by a square of known place.

    Returns None, or a warning when the square is not found at all. Raises ``ValueError`` where it counts in the other units or
    does not answer.
    """
    width, height = UNITS_SIZE
    box = (0.6, 0.5, 0.8, 0.8)
    picture = Image.new("RGB", UNITS_SIZE, (128, 128, 128))
    ImageDraw.Draw(picture).rectangle(
        (box[0] * width, box[1] * height, box[2] * width, box[3] * height), fill=(220, 30, 30)
    )
    jpeg = encode_jpeg(picture)
    question = (
        Turn("user", location_request("red square", UNITS_SIZE, annotator.units), (jpeg,), pictures_first=True),
    )
    try:
        reply = annotator.asker.ask(question, annotator.asker.name(question), note={"about": "units"})
    except QuestionFailed as error:
        raise ModelDown(f"{annotator.asker.model.name} does not answer about a picture: {error}") from error
    told = without_thoughts(reply.text)
    agreement: dict[Units, float] = {}
    for units in ("thousandths", "pixels"):
        try:
            found = parse_location(told, UNITS_SIZE, units)
        except ValueError:
            found = None
        agreement[units] = 0.0 if found is None else _agreement(found.box, box)
    best = max(agreement, key=lambda units: agreement[units])
    if agreement[best] < 0.5:
        return f"the model does not find a red square on grey ({told[:100]!r}): its places may be worth nothing"
    if agreement[annotator.units] < agreement[best] - 0.2:
        raise ValueError(f"--units: the model counts in {best}, not in {annotator.units}")
    return None


def _agreement(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    wide = max(0.0, min(one[2], two[2]) - max(one[0], two[0]))
    high = max(0.0, min(one[3], two[3]) - max(one[1], two[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, two)]
    return wide * high / (sum(areas) - wide * high)


def without_thoughts(text: str) -> str:
    """What a reasoning model answers: all that follows its thoughts, nothing where they do not end."""
    # Templates may open the thoughts themselves, so that their end alone is in the text.
    answer = text.rpartition("</think>")[2]
    return "" if "<think>" in answer else answer


def for_model(picture: Image.Image) -> Image.Image:
    """The picture as the vision-language model is shown it: never enlarged beyond the next multiple, its shape nearly kept."""
    scale = min(1.0, LONGEST / max(picture.size))
    size = tuple(max(MULTIPLE, round(length * scale / MULTIPLE) * MULTIPLE) for length in picture.size)
    return picture.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC)
