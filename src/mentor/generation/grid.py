"""Several pictures of one size on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image


def grid(images: Sequence[Image.Image], *, columns: int = 0, gap: int = 4) -> Image.Image:
    """Lay equally large RGB images out row by row on white, ``gap`` pixels apart.

    ``columns`` 0 chooses the squarest sheet. One image comes back as it is. Raises ``ValueError`` without images.
    """
    if not images:
        raise ValueError("a grid needs at least one image")
    if len(images) == 1:
        return images[0]
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, image in enumerate(images):
        sheet.paste(image, (index % columns * (width + gap), index // columns * (height + gap)))
    return sheet
