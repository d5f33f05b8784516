"""Draws a sheet of training samples: a row for each task, reference images left of their target.

python examples/task_sheet.py --out docs/images/tasks.png
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mentor.data.corpus import Corpus
from mentor.data.mixture import Mixture
from mentor.data.tasks import TASKS, Sample

CELL, TEXT, GAP, TITLE = 128, 54, 8, 20


def draw_sample(sample: Sample) -> Image.Image:
    """References, an arrow-wide gap, the target, and the prompt below."""
    pictures = [*sample.prompt.images, sample.target.resize((CELL, CELL), Image.Resampling.NEAREST)]
    width = max(len(pictures), 2) * (CELL + GAP)
    panel = Image.new("RGB", (width, CELL + TEXT + GAP), "white")
    for number, picture in enumerate(pictures):
        panel.paste(picture.resize((CELL, CELL)), (number * (CELL + GAP), 0))
    draw = ImageDraw.Draw(panel)
    left = (len(pictures) - 1) * (CELL + GAP)
    draw.rectangle((left, 0, left + CELL - 1, CELL - 1), outline="black")
    text = "\n".join(line for part in sample.prompt.text.split("\n") for line in textwrap.wrap(part, width // 6))
    draw.multiline_text((2, CELL + 2), text, fill="black", font=ImageFont.load_default(10), spacing=2)
    return panel


def draw_sheet(corpus: Corpus, split: str, columns: int, size: int, seed: int) -> Image.Image:
    """A row for each task; ``size`` is the side of a target in pixels."""
    rows = []
    for task in TASKS:
        mixture = Mixture(corpus, {task: 1.0}, split, size, seed)
        rows.append((task, [draw_sample(mixture.sample(index)) for index in range(columns)]))
    width = max(sum(panel.width + GAP for panel in panels) for _, panels in rows)
    height = sum(panels[0].height + TITLE for _, panels in rows)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for task, panels in rows:
        ImageDraw.Draw(sheet).text((2, top + 2), task, fill="black", font=ImageFont.load_default(14))
        left = 0
        for panel in panels:
            sheet.paste(panel, (left, top + TITLE))
            left += panel.width + GAP
        top += panels[0].height + TITLE
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a sheet of training samples, a row for each task.")
    parser.add_argument("--corpus", default=None, help="folder of the corpus pack")
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="side of a target in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("tasks.png"))
    args = parser.parse_args()
    draw_sheet(Corpus.load(args.corpus), args.split, args.columns, args.size, args.seed).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
