"""The released data (Mentor_Stage1, Mentor_Stage2): the prompt and the target picture that a record becomes.

Pictures are squashed to a square as the released code does, plain targets cut to one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.config.sources import ReleasedOptions
from mentor.data import templates
from mentor.data.distortion import distorted
from mentor.data.example import BadRecord, Example, ReadImage, checked_prompt
from mentor.data.released_record import ReleasedRecord, read_record
from mentor.data.squares import centre_square, padded_square, reference_square, squash
from mentor.prompt import IMAGE_PLACEHOLDER, Prompt

WHOLE_BOX = 0.5
"""How often a record of several objects shows them in their boxes, with what surrounds them, instead of cut out."""


def released_example(
    record: Any,
    read: ReadImage,
    seed: int,
    *,
    size: int,
    options: ReleasedOptions,
    background: Callable[[np.random.Generator], Image.Image] | None = None,
) -> Example:
    """The sample that a record makes, a pure function of (record, seed), with pictures of ``size`` pixels.

    ``background`` draws a picture to put recovery's objects on. ``BadRecord`` for a record that cannot be used.
    """
    rng = np.random.default_rng(seed)
    fields = read_record(record, recovery=options.recovery)
    # Drawn for every record, so that the option changes nothing but what it is about.
    wordless = rng.random() < options.image_only
    if fields.task == "text_to_image" and not (wordless and options.image_only_rows == "all"):
        target = centre_square(read(fields.image_path[0]), size)
        return Example(checked_prompt(templates.text_to_image(fields.text)), target, fields.task)
    if fields.task in ("reconstruct", "text_to_image"):
        target = centre_square(read(fields.image_path[0]), size)
        reference = reference_square(read((fields.source_image or fields.image_path)[0]), size, options.fit)
        words = "" if wordless else fields.text
        return Example(
            checked_prompt(templates.reconstruct(words), [reference], [templates.WHOLE_IMAGE]), target, "reconstruct"
        )
    example = _of_objects(fields, read, rng, size, options, background)
    if wordless and options.image_only_rows == "all" and len(example.prompt.images) == 1:
        prompt = checked_prompt(templates.reconstruct(), example.prompt.images, example.prompt.queries)
        return Example(prompt, example.target, example.task, example.object_mask)
    return example


def _of_objects(
    fields: ReleasedRecord,
    read: ReadImage,
    rng: np.random.Generator,
    size: int,
    options: ReleasedOptions,
    background: Callable[[np.random.Generator], Image.Image] | None,
) -> Example:
    source = read(fields.source_image[0])
    if fields.task == "interleaved":
        if len(fields.image_path) > options.max_images:
            raise BadRecord(f"image_path: {len(fields.image_path)} images, at most {options.max_images} are taken")
        images = [squash(padded_square(read(name)), size) for name in fields.image_path]
        queries = fields.objects if len(fields.objects) == len(images) else ()
        return Example(checked_prompt(fields.text, images, queries), centre_square(source, size), "interleaved")
    picture = reference_square(source, size, options.fit)
    if fields.task == "multi":
        return _multi(fields, picture, read, rng, size, options)
    name = fields.objects[0]
    if fields.task == "subject":
        reference = reference_square(read(fields.image_path[0]), size, options.fit)
        return Example(_about(fields, [name], [reference], rng, options), picture, "subject")
    mask = _mask(read(fields.image_path[0], mask=True), size, options)
    if fields.task == "segment":
        shown = Image.fromarray(np.where(mask[..., None], np.asarray(picture), 0).astype(np.uint8))
        named = fields.masked or options.label == "always"
        text = templates.segment(name) if named else f"{IMAGE_PLACEHOLDER}\n {fields.text}"
        return Example(checked_prompt(text, [picture], [name]), shown, "segment", mask)
    if background is None:
        raise ValueError("recovery needs pictures to put objects on: give options.backgrounds")
    composed = distorted(picture, mask, squash(background(rng), size), rng)
    return Example(_about(fields, [name], [composed], rng, options), picture, "recover", mask)


def _multi(
    fields: ReleasedRecord,
    picture: Image.Image,
    read: ReadImage,
    rng: np.random.Generator,
    size: int,
    options: ReleasedOptions,
) -> Example:
    count = min(len(fields.objects), options.max_images)
    chosen = sorted(int(place) for place in rng.permutation(len(fields.objects))[:count])
    masks = [_mask(read(fields.image_path[place], mask=True), size, options) for place in chosen]
    whole = rng.random() < WHOLE_BOX
    crops = [_crop(picture, mask, size, whole=whole) for mask in masks]
    names = [fields.objects[place] for place in chosen]
    return Example(_about(fields, names, crops, rng, options), picture, "multi", np.logical_or.reduce(masks))


def _about(
    fields: ReleasedRecord,
    names: Sequence[str],
    images: Sequence[Image.Image],
    rng: np.random.Generator,
    options: ReleasedOptions,
) -> Prompt:
    """A prompt about named objects: a line for each, or the images in the caption where it mentions them."""
    if fields.masked:
        return checked_prompt("\n".join(templates.segment(name) for name in names), images, names)
    if not options.recovery:
        return checked_prompt("\n".join([f"{IMAGE_PLACEHOLDER}."] * len(names) + [fields.text]), images, names)
    within, order = _mentioned(fields.text, names)
    if rng.random() < options.replace_subject and len(order) == len(names):
        return checked_prompt(within, [images[place] for place in order], [names[place] for place in order])
    return checked_prompt(templates.subjects(names, fields.text), images, names)


def _mentioned(text: str, names: Sequence[str]) -> tuple[str, list[int]]:
    """``text`` with an image in the place of each name, and which names those are, in the order of the text.

    "hot dog" is no mention of a dog; a name that is given twice is looked for twice.
    """
    order: list[int] = []

    def image(found: re.Match[str]) -> str:
        place = next((n for n, name in enumerate(names) if name == found[0] and n not in order), None)
        if place is None:
            return found[0]
        order.append(place)
        return IMAGE_PLACEHOLDER

    longest_first = sorted(set(names), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), image, text), order


def _crop(picture: Image.Image, mask: NDArray[np.bool_], size: int, *, whole: bool) -> Image.Image:
    """One object on a black square: its box with what surrounds it, or the object alone."""
    marked = Image.fromarray(mask)
    shown = picture if whole else Image.composite(picture, Image.new("RGB", picture.size), marked)
    return squash(padded_square(shown.crop(marked.getbbox())), size)


def _mask(marked: Image.Image, size: int, options: ReleasedOptions) -> NDArray[np.bool_]:
    if options.fit == "squash":
        marked = marked.resize((size, size), Image.Resampling.NEAREST)
    else:
        marked = centre_square(marked, size)
    mask = np.asarray(marked) > 127
    if not mask.any():
        raise BadRecord("image_path: the mask marks no pixel")
    return mask
