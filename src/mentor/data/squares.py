"""Pictures of any shape made square, as the released training code does it."""

from __future__ import annotations

from PIL import Image

from mentor.config.sources import Fit

LONGEST = 16
"""A picture that is more times as long as wide is a strip: scaled to a square's side it could take gigabytes."""


def shortened(image: Image.Image) -> Image.Image:
    """A strip's middle, of about ``LONGEST`` times its width: a square cut from its centre shows no more of it."""
    spare_x, spare_y = (max(0, length - LONGEST * min(image.size)) // 2 for length in image.size)
    if not (spare_x or spare_y):
        return image
    return image.crop((spare_x, spare_y, image.width - spare_x, image.height - spare_y))


_STRIP = 2048
"""Longer side, in pixels, that a strip is shrunk to before it is padded."""


def squash(image: Image.Image, side: int) -> Image.Image:
    """The whole picture on ``side`` x ``side`` pixels (LANCZOS), whatever its shape was: the released reference images."""
    return image.resize((side, side), Image.Resampling.LANCZOS)


def centre_square(image: Image.Image, side: int) -> Image.Image:
    """The centre of the picture, its shorter side scaled to ``side`` pixels: the released target images.

    Large pictures are halved by averaging 2 x 2 pixels as often as possible first, then scaled bicubically.
    """
    image = shortened(image)
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def reference_square(image: Image.Image, side: int, fit: Fit) -> Image.Image:
    """A reference of ``side`` x ``side`` pixels: the whole picture or its centre."""
    return squash(image, side) if fit == "squash" else centre_square(image, side)


def padded_square(image: Image.Image) -> Image.Image:
    """The picture in the middle of a black square as wide as its longer side."""
    if max(image.size) > LONGEST * min(image.size):
        image = image.copy()  # what is given stays as it is
        image.thumbnail((_STRIP, _STRIP))
    side = max(image.size)
    square = Image.new("RGB", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
