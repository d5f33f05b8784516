"""How the built-in sample of DreamBench++ was made: ``python -m mentor.construction.dreambench_plus_sample FOLDER``.

Five references from the corpus (MIT-licensed cut-outs only) and our own prompts in the official layout.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from mentor.data.catalog import Catalog, catalog_of
from mentor.data.colours import COLOURS
from mentor.data.corpus import Corpus
from mentor.data.words import with_article

SIDE = 192

# Place in the layout: (what it is called, the cut-out that is shown, the ground behind it)
_ALONE = {
    "live_subject/animal/00": ("cat", "cat", "cyan"),
    "live_subject/human/00": ("pair of dolls", "japanese dolls", "gray"),
    "object/00": ("telephone", "telephone", "yellow"),
    "object/01": ("top hat", "top hat", "white"),
}
_STYLE = ("style/00", "flat drawing", "fluent-emoji-flat", ("sun", "unicorn", "potted plant"), "pink")

# Four photorealistic prompts, three of a style, two imaginative ones, as the official order has them.
_SUBJECT_PROMPTS = (
    "{a} on a blue background",
    "a small {name} on the left on a green background",
    "a large {name} in the center on a yellow to orange gradient background",
    "{a} and a red apple on a white background",
    "a flat drawing of {a} on a purple background",
    "a cartoon {name} on a brown background",
    "a glossy {name} on a gray background",
    "a huge {name} above a castle on a pink background",
    "{a} riding a rocket on a black to blue gradient background",
)
_STYLE_PROMPTS = (
    "a car on a blue background",
    "a small tree on the left on a green background",
    "a large fish in the center on a yellow to orange gradient background",
    "a house and a red apple on a white background",
    "a rabbit on a purple background",
    "a guitar on a brown background",
    "a cup of coffee on a gray background",
    "a huge bird above a castle on a pink background",
    "two robots and a rocket on a black to blue gradient background",
)


def write_sample(corpus: Corpus, folder: Path) -> None:
    """Write images/ and captions/ into ``folder``; ``ValueError`` if the corpus lacks a cut-out."""
    catalog = catalog_of(corpus)
    for place, (name, drawn, ground) in _ALONE.items():
        picture = Image.new("RGB", (SIDE, SIDE), COLOURS[ground])
        _paste(picture, catalog, _key(corpus, drawn, "fluent-emoji-3d"), SIDE * 2 // 3, (0.5, 0.5))
        prompts = [prompt.format(name=name, a=with_article(name, False)) for prompt in _SUBJECT_PROMPTS]
        _write(folder, place, picture, [name, *prompts])
    place, title, source, names, ground = _STYLE
    picture = Image.new("RGB", (SIDE, SIDE), COLOURS[ground])
    for name, at, side in zip(
        names, ((0.8, 0.2), (0.4, 0.55), (0.8, 0.75)), (SIDE // 4, SIDE // 2, SIDE // 3), strict=True
    ):
        _paste(picture, catalog, _key(corpus, name, source), side, at)
    _write(folder, place, picture, [title, *_STYLE_PROMPTS])


def _key(corpus: Corpus, name: str, source: str) -> str:
    found = [cutout for cutout in corpus.cutouts if (cutout.subject, cutout.source) == (name, source)]
    if not found or any(cutout.licence != "MIT" for cutout in found):
        raise ValueError(
            f"expected an MIT-licensed cut-out {name!r} of {source} in the corpus, got {len(found)} others"
        )
    return found[0].key


def _paste(canvas: Image.Image, catalog: Catalog, key: str, side: int, at: tuple[float, float]) -> None:
    picture = catalog.picture(key).copy()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    corner = (round(SIDE * at[0] - picture.width / 2), round(SIDE * at[1] - picture.height / 2))
    canvas.paste(picture, corner, picture)


def _write(folder: Path, place: str, picture: Image.Image, lines: Sequence[str]) -> None:
    image, text = folder / "images" / f"{place}.jpg", folder / "captions" / f"{place}.txt"
    for path in (image, text):
        path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(image, quality=90)
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_sample(Corpus.load(), Path(sys.argv[1]))
