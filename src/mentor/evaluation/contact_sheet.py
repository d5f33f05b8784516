"""Contact sheets: rows of small pictures with a caption under each row, for galleries and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (32, 32, 32)
FAINT = (120, 120, 120)
MARGIN = 6
TEXT_SIZE = 12
LINES = 3


@dataclass(frozen=True)
class Entry:
    """One prompt on the sheet: its pictures side by side, a heading over each, and a caption below."""

    pictures: tuple[Image.Image, ...]
    headings: tuple[str, ...]
    caption: str


def contact_sheet(entries: Sequence[Entry], *, columns: int = 4, cell: int = 128, title: str = "") -> Image.Image:
    """All entries in reading order, ``columns`` to a row, every picture fitted into a square of ``cell`` pixels.

    Raises ``ValueError`` when there is no entry, or when an entry's pictures and headings do not pair up.
    """
    if not entries:
        raise ValueError("a contact sheet needs at least one entry")
    for entry in entries:
        if len(entry.pictures) != len(entry.headings):
            raise ValueError(
                f"expected a heading for each of {len(entry.pictures)} pictures, got {len(entry.headings)}"
            )
    font = ImageFont.load_default(TEXT_SIZE)
    line = TEXT_SIZE + 3
    across = max(len(entry.pictures) for entry in entries)
    width = across * (cell + MARGIN) + MARGIN
    height = line + cell + LINES * line + 2 * MARGIN
    top = 2 * line if title else 0
    columns = min(columns, len(entries))
    rows = -(-len(entries) // columns)
    sheet = Image.new("RGB", (columns * width, top + rows * height + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((MARGIN, MARGIN), title, fill=INK, font=font)
    for number, entry in enumerate(entries):
        left, upper = (number % columns) * width + MARGIN, top + (number // columns) * height + MARGIN
        for place, (picture, heading) in enumerate(zip(entry.pictures, entry.headings, strict=True)):
            x = left + place * (cell + MARGIN)
            draw.text((x, upper), heading, fill=FAINT, font=font)
            sheet.paste(_fitted(picture, cell), (x, upper + line))
        caption = _wrapped(entry.caption, font, width - 2 * MARGIN)
        draw.multiline_text((left, upper + line + cell + 2), caption, fill=INK, font=font, spacing=3)
    return sheet


def _wrapped(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """At most ``LINES`` lines of words that fit into ``width`` pixels, the last one cut off with dots."""
    lines, rest = [""], text.split()
    while rest:
        longer = f"{lines[-1]} {rest[0]}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
            rest.pop(0)
        elif len(lines) == LINES:
            while lines[-1] and font.getlength(f"{lines[-1]}...") > width:
                lines[-1] = lines[-1][:-1]
            lines[-1] += "..."
            break
        else:
            lines.append("")
    return "\n".join(lines)


def _fitted(picture: Image.Image, cell: int) -> Image.Image:
    """The picture in a square of ``cell`` pixels: transparent parts on white, enlarged without blur when small."""
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (*PAPER, 255)), picture)
    picture = picture.convert("RGB")
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    method = Image.Resampling.NEAREST if scale.is_integer() else Image.Resampling.LANCZOS
    canvas = Image.new("RGB", (cell, cell), PAPER)
    canvas.paste(picture.resize(size, method), ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return canvas
