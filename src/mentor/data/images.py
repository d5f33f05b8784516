"""Any picture file a person may have -> one 8-bit RGB image, or one sentence that says why not."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mentor.prompt import DAMAGED

# Named, so that a file can never reach Pillow's readers that start other programs (EPS) or need a viewer's context.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "TGA", "JPEG2000")


def _phones() -> tuple[str, ...]:
    """The formats of phones that this installation reads: AVIF with a newer Pillow, HEIF with ``pillow-heif``."""
    with contextlib.suppress(ImportError):
        importlib.import_module("PIL.AvifImagePlugin")
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in ("AVIF", "HEIF") if name in Image.OPEN)


FILE_FORMATS = (*FORMATS, "ICO", *_phones())
"""What a file of one's own may be. Bytes that others send are of ``FORMATS``: Pillow unpacks an icon while it opens it, before
its size can be checked."""
_PHONES = {"AVIF": (".avif",), "HEIF": (".heic", ".heif")}
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".tga", ".ico", ".jp2"),
    *(suffix for name, suffixes in _PHONES.items() if name in FILE_FORMATS for suffix in suffixes),
)
"""How the names of such files end."""
# ``catch_warnings`` changes the settings of all threads: two at once could leave them changed.
_warnings = threading.Lock()


def load_image(path: str | os.PathLike[str], *, mask: bool = False) -> Image.Image:
    """Read a picture file as 8-bit RGB: upright, first frame only, transparency laid on white; a ``mask``: see ``to_mask``.

    Raises:
        ValueError: the file is missing, unreadable, no picture, cut off, or has so many pixels that it looks like a
            decompression bomb (Pillow's limit, 179 megapixels).
    """
    try:
        return _read(Path(path), mask, FILE_FORMATS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def decode_image(data: bytes, *, mask: bool = False, most_pixels: int | None = None) -> Image.Image:
    """The same for a picture file's bytes; with ``most_pixels``, larger ones are refused before they are unpacked."""
    return _read(io.BytesIO(data), mask, FORMATS, most_pixels)


def _read(
    source: Path | io.BytesIO, mask: bool, formats: tuple[str, ...], most_pixels: int | None = None
) -> Image.Image:
    try:
        with _warnings, warnings.catch_warnings():
            # Pillow warns of half a bomb and of odd metadata; what matters raises.
            warnings.simplefilter("ignore")
            with Image.open(source, formats=formats) as image:
                if most_pixels is not None and image.width * image.height > most_pixels:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
                image.load()
                upright = ImageOps.exif_transpose(image)
    except FileNotFoundError as error:
        raise ValueError("there is no such file") from error
    except IsADirectoryError as error:
        raise ValueError("is a folder, expected a picture file") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"not a picture (readable are {', '.join(formats)})") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"too large to open safely ({error}); make it smaller first") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ValueError(f"cannot be read ({error.strerror})") from error
        raise ValueError(f"the picture is damaged or cut off ({error})") from error
    return to_mask(upright) if mask else to_rgb(upright)


def to_mask(image: Image.Image) -> Image.Image:
    """What a mask marks, as 255 on 0 ("L"): every pixel that is not black, however faint, and not transparent.

    A mask that is black on nothing marks what is not transparent.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        marked = np.asarray(image) > 0
    elif image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        seen, light = rgba[..., 3] > 0, rgba[..., :3].any(axis=-1)
        marked = seen & light if (seen & light).any() else seen
    else:
        marked = np.asarray(image.convert("L")) > 0
    return Image.fromarray(255 * marked.astype(np.uint8))


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode (palette, CMYK, 16-bit, alpha, ...) to 8-bit RGB, upright, transparency laid on white.

    Raises:
        ValueError: the pixels are floating-point numbers, whose range no file states.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; save the picture with 8 or 16 bits a channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
        samples = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray((samples // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
