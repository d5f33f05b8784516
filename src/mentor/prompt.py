"""A prompt: text with a marked place for every reference image (paper 2.1, interleaved multimodal input)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

IMAGE_PLACEHOLDER = "<image>"
"""Marks in the text where a reference image goes."""
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)
"""What Pillow's readers raise on damaged data."""


@dataclass(frozen=True)
class Prompt:
    """Text that holds one ``<image>`` for each of ``images``, in their order.

    Raises ``ValueError`` when the number of placeholders and the number of images differ, when something that is not
    text or not a Pillow image is given, for an image that cannot be read, and when there is neither text nor image.
    """

    text: str
    images: Sequence[Image.Image] = field(default=())
    queries: Sequence[str] = field(default=())
    """What to look for in each image, one for each; empty: what the text says (``data.templates.image_queries``).
    Read by models with a Query-Former."""

    def __post_init__(self) -> None:
        _check_text("a prompt's text", self.text)
        if isinstance(self.images, Image.Image):
            raise ValueError("expected a sequence of images, got a single image: write Prompt(text, [image])")
        object.__setattr__(self, "images", tuple(self.images))
        for number, image in enumerate(self.images):
            _check_image(number + 1, image)
        marked, given = self.text.count(IMAGE_PLACEHOLDER), len(self.images)
        if marked != given:
            raise ValueError(
                f"the prompt marks {marked} image(s) with {IMAGE_PLACEHOLDER} but {given} were given: "
                f"write {IMAGE_PLACEHOLDER} once for each image, in the images' order"
            )
        if not self.text.strip():
            raise ValueError("the prompt is empty: give a text, an image or both")
        self._check_queries()

    def _check_queries(self) -> None:
        if isinstance(self.queries, str):
            raise ValueError("expected a sequence of queries, got a single text: write queries=[text]")
        object.__setattr__(self, "queries", tuple(self.queries))
        if self.queries and len(self.queries) != len(self.images):
            raise ValueError(
                f"expected one query for each image, got {len(self.queries)} for {len(self.images)} image(s): "
                "leave them out to take what the text says"
            )
        for number, query in enumerate(self.queries):
            _check_text(f"what to look for in image {number + 1}", query)
            if not query.strip():
                raise ValueError(f"expected what to look for in image {number + 1}, got {query!r}")

    @property
    def segments(self) -> list[str | Image.Image]:
        """Text pieces and images in reading order; empty text pieces are left out."""
        pieces = self.text.split(IMAGE_PLACEHOLDER)
        interleaved: list[str | Image.Image] = [pieces[0]] if pieces[0] else []
        for image, piece in zip(self.images, pieces[1:], strict=True):
            interleaved.append(image)
            if piece:
                interleaved.append(piece)
        return interleaved


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise ValueError(f"expected {name} as str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes of the command line that are not UTF-8 come as halves of characters
        raise ValueError(
            f"expected {name} in characters, got {text[error.start]!r} at position {error.start}: write it in UTF-8"
        ) from None


def _check_image(number: int, image: object) -> None:
    """Reads the image: files are opened lazily, and pictures of other prompts are not drawn for one that is cut off."""
    if not isinstance(image, Image.Image):
        raise ValueError(f"expected a PIL image as image {number}, got {type(image).__name__}: open it first")
    try:
        image.load()
    except (*DAMAGED, AssertionError) as error:  # the last: of a file that was closed before it was read
        raise ValueError(f"image {number} cannot be read ({error or type(error).__name__}): open it again") from error
    if not image.width or not image.height:
        raise ValueError(f"image {number} has no pixels, its size is {image.width} x {image.height}: leave it out")
    if image.mode == "F":
        raise ValueError(
            f"image {number} has floating-point pixels, whose range is not defined: convert it to 8 or 16 bits"
        )
