"""PNG files that remember how they were made, written whole or not at all."""

from __future__ import annotations

import io
import json
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

import mentor
from mentor.config.sampling import GenerationSettings

KEY = "mentor"
"""Name of the PNG text chunk; its value is one JSON object in ASCII."""


def check_writable(paths: Sequence[Path]) -> None:
    """Make sure, before any work is done, that ``paths`` can be written.

    Raises:
        ValueError: a name does not end in .png, is too long or a folder, or its folder is missing or refuses new files.
    """
    for path in paths:
        if path.suffix.lower() != ".png":
            raise ValueError(f"{path}: expected a name that ends in .png (it also holds seed and settings)")
        try:
            if path.is_dir():
                raise ValueError(f"{path}: is a folder, expected the name of a file")
            if not path.parent.is_dir():
                raise ValueError(f"{path.parent}: there is no such folder; make it first")
            with suppress(FileNotFoundError):
                path.lstat()  # the name may be too long
            # The only reliable question: permissions alone say yes on a read-only or full file system.
            with tempfile.TemporaryFile(dir=path.parent, prefix=".mentor-"):
                pass
        except OSError as error:
            raise ValueError(f"{path}: cannot be written ({error.strerror})") from error


def write_pngs(pictures: Sequence[tuple[Path, Image.Image, Mapping[str, Any]]]) -> None:
    """Write (path, image, metadata) triples; no file appears under its name before all are complete.

    Raises:
        OSError: the disk is full or refuses; nothing half-written stays.
    """
    # Short, so that every name that a file may have is free to be used.
    temporaries = {path: path.with_name(f".mentor-{secrets.token_hex(8)}.tmp") for path, _, _ in pictures}
    try:
        for path, image, metadata in pictures:
            temporaries[path].write_bytes(png_bytes(image, metadata))
        for path, temporary in temporaries.items():
            temporary.replace(path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def png_bytes(image: Image.Image, metadata: Mapping[str, Any]) -> bytes:
    """A PNG file's bytes, with ``metadata`` beside the pixels."""
    chunks, buffer = PngInfo(), io.BytesIO()
    chunks.add_text(KEY, json.dumps(metadata))
    image.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def how_made(
    model: str,
    prompt: str,
    images: Sequence[Mapping[str, str]],
    settings: GenerationSettings,
    dtype: object,
    device: str,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """What a picture remembers; ``images``: the name and the SHA-256 of each reference's file.

    ``device``: cpu, cuda or mps; the same seed is another picture on another kind of device.
    """
    sampled = asdict(settings)
    if settings.cfg_interval == -1:
        del sampled["cfg_interval"]  # it guides all tokens, as every reader expects
    return {
        "version": mentor.__version__,
        "model": model,
        "prompt": prompt,
        "images": list(images),
        **sampled,
        "dtype": str(dtype).removeprefix("torch."),
        "device": device,
        "seeds": list(seeds),
    }


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read back what ``write_pngs`` stored beside the pixels.

    Raises:
        ValueError: no such file, no PNG, or a PNG that this package did not write.
    """
    path = Path(path)
    try:
        # Not Image.open, which refuses large pictures: no pixel is unpacked.
        with PngImageFile(path) as image:
            text = image.info.get(KEY)
        values = json.loads(text) if text is not None else None
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path}: not a readable PNG ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a PNG without mentor's metadata (made by another program, or saved again by one)")
    return values
