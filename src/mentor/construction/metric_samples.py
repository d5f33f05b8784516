"""How the built-in samples of the measured benchmarks were made: ``python -m mentor.construction.metric_samples FOLDER``.

Own pictures from the corpus (held-out, MIT-licensed cut-outs only) and own prompts, each benchmark in its official layout.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.data.colours import COLOURS
from mentor.data.corpus import Corpus, Cutout
from mentor.data.held_out import evaluation_prompts
from mentor.data.words import with_article

SIDE = 128
PROTOTYPE = 64
SCENES = 12
"""Pictures of the reconstruction and of the COCO sample each."""

_SUBJECTS = {"cat": ("cat", "cat"), "lion_toy": ("lion", "toy"), "sandwich": ("sandwich", "sandwich")}
"""Folder: (cut-out's subject, class in the prompts)."""
_GROUNDS = ("gray", "cyan", "white")
_OBJECT_PROMPTS = ("on a blue background", "on a green background", "and a red apple on a white background")
_LIVE_PROMPTS = ("on a blue background", "on a yellow background", "wearing a red hat on a white background")

_CLASSES = {"cat": "cat", "giraffe": "giraffe", "sandwich": "sandwich", "airplane": "airplane", "couch": "sofa"}
"""COCO's class: the corpus's subject."""


def write_samples(corpus: Corpus, folder: Path) -> None:
    """Write dreambench/, reconstruction/, geneval/ and coco_fid/ into ``folder``; ``ValueError`` if a cut-out is missing."""
    free = [each for each in corpus.split("test").cutouts if each.licence == "MIT"]
    dreambench(free, folder / "dreambench" / "dataset")
    geneval(free, folder / "geneval")
    scenes = evaluation_prompts(Corpus(free, []), 2 * SCENES, 0, size=SIDE)
    captions = [scene.prompt.text.rpartition("\n")[2] for scene in scenes]
    pictures = [scene.target for scene in scenes]
    reconstruction(pictures[:SCENES], captions[:SCENES], folder / "reconstruction")
    coco(pictures[SCENES:], captions[SCENES:], folder / "coco_fid")


def dreambench(cutouts: Sequence[Cutout], folder: Path) -> None:
    """Three subjects in three styles each, and three prompts of both kinds."""
    for name, (subject, _) in _SUBJECTS.items():
        for number, ground in enumerate(_GROUNDS):
            picture = Image.new("RGB", (SIDE, SIDE), COLOURS[ground])
            cutout = _find(cutouts, subject)[number].image.convert("RGBA")
            cutout.thumbnail((SIDE * 3 // 4, SIDE * 3 // 4), Image.Resampling.LANCZOS)
            picture.paste(cutout, ((SIDE - cutout.width) // 2, (SIDE - cutout.height) // 2), cutout)
            _save(picture, folder / name / f"{number:02d}.jpg")
    classes = [f"{name},{kind}" for name, (_, kind) in _SUBJECTS.items()]
    lines = ["Classes", "", "subject_name,class", *classes, "", "Prompts", ""]
    for title, prompts in (("Object Prompts", _OBJECT_PROMPTS), ("Live Subject Prompts", _LIVE_PROMPTS)):
        calls = [f"'a {{0}} {{1}} {prompt}'.format(unique_token, class_token)," for prompt in prompts]
        lines += [title, "", "prompt_list = [", *calls, "]", ""]
    (folder / "prompts_and_classes.txt").write_text("\n".join(lines), encoding="utf-8")


def geneval(cutouts: Sequence[Cutout], folder: Path) -> None:
    """Two prompts of each task, and a prototype of each class in every style."""

    def clause(label: str, count: int = 1, **more: Any) -> dict[str, Any]:
        return {"class": label, "count": count, **more}

    def line(tag: str, include: list[dict[str, Any]], prompt: str, **more: Any) -> dict[str, Any]:
        return {"tag": tag, "include": include, **more, "prompt": f"a photo of {prompt}"}

    lines = [line("single_object", [clause(label)], with_article(label, False)) for label in ("cat", "sandwich")]
    for one, two in (("cat", "couch"), ("giraffe", "airplane")):
        prompt = f"{with_article(one, False)} and {with_article(two, False)}"
        lines.append(line("two_object", [clause(one), clause(two)], prompt))
    for label, count, words in (("cat", 2, "two cats"), ("airplane", 3, "three airplanes")):
        lines.append(line("counting", [clause(label, count)], words, exclude=[clause(label, count + 1)]))
    for label, colour in (("couch", "red"), ("airplane", "white")):
        lines.append(line("colors", [clause(label, color=colour)], f"{with_article(colour, False)} {label}"))
    for one, relation, two in (("cat", "left of", "sandwich"), ("airplane", "above", "giraffe")):
        include = [clause(two), clause(one, position=[relation, 0])]
        lines.append(line("position", include, f"{with_article(one, False)} {relation} {with_article(two, False)}"))
    for (first, one), (second, two) in (
        (("red", "couch"), ("black", "cat")),
        (("white", "airplane"), ("yellow", "giraffe")),
    ):
        prompt = f"{with_article(first, False)} {one} and {with_article(second, False)} {two}"
        lines.append(line("color_attr", [clause(one, color=first), clause(two, color=second)], prompt))
    for label, subject in _CLASSES.items():
        for number, cutout in enumerate(_find(cutouts, subject)):
            prototype = cutout.image.convert("RGBA")
            prototype.thumbnail((PROTOTYPE, PROTOTYPE), Image.Resampling.LANCZOS)
            _save(prototype, folder / "classes" / f"{label}-{number}.webp")
    text = "".join(json.dumps(each) + "\n" for each in lines)
    (folder / "evaluation_metadata.jsonl").write_text(text, encoding="utf-8")


def reconstruction(pictures: Sequence[Image.Image], captions: Sequence[str], folder: Path) -> None:
    """Scenes as files with a table of captions."""
    rows = []
    for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        _save(picture, folder / "images" / f"{number:06d}.jpg")
        rows.append((f"images/{number:06d}.jpg", caption))
    _table(folder / "captions.csv", ("image", "caption"), rows)


def coco(pictures: Sequence[Image.Image], captions: Sequence[str], folder: Path) -> None:
    """Scenes as COCO's validation pictures, their captions in LlamaGen's table."""
    for number, picture in enumerate(pictures):
        _save(picture, folder / "val2014" / f"COCO_val2014_{number:012d}.jpg")
    _table(folder / "coco_captions.csv", ("Prompt",), [(caption,) for caption in captions])


def _find(cutouts: Sequence[Cutout], subject: str) -> list[Cutout]:
    found = [each for each in cutouts if each.subject == subject]
    if len(found) < len(_GROUNDS):
        raise ValueError(f"expected {len(_GROUNDS)} MIT-licensed held-out cut-outs of {subject!r}, got {len(found)}")
    return found[: len(_GROUNDS)]


def _save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=85)


def _table(path: Path, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    write_samples(Corpus.load(), Path(sys.argv[1]))
