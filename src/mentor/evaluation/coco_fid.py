"""MS-COCO FID at 256 px and CLIP score: captions of COCO val2014 become pictures, compared with the real ones as a whole.

Layout: ``val2014/*.jpg``, or ``statistics-<preset>.npz`` with ``mu`` and ``sigma`` in its place; captions from
``coco_captions.csv`` (a column ``Prompt``, as LlamaGen ships it) or COCO's ``annotations/captions_val2014.json``; and
``inception-2015-12-05.pt``, unless it is given as a backbone.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mentor.data.images import load_image
from mentor.data.templates import text_to_image
from mentor.evaluation.backbones import Backbone, Inception, check_sources, chosen, load_clip
from mentor.evaluation.feature_cache import FeatureCache
from mentor.evaluation.folders import crop_then_resize, picture_files, resize_then_crop
from mentor.evaluation.metrics import Statistics, cosine, frechet_distance
from mentor.evaluation.networks import Features
from mentor.evaluation.protocol import Item, Record, Scores, Source, Tools
from mentor.evaluation.published import published_rows
from mentor.evaluation.record_means import record_means
from mentor.evaluation.stand_ins import STAND_IN, PooledTrunk
from mentor.prompt import Prompt

PICTURES = 30_000
CAPTIONS, ANNOTATIONS, REFERENCE = "coco_captions.csv", "annotations/captions_val2014.json", "val2014"
INCEPTION = "inception-2015-12-05.pt"
CLIP = "openai/clip-vit-base-patch32"
DRAWN_WITH = 0
"""Seed with which captions and, in the preset kosmos_g, references are drawn where there are more than ``PICTURES``."""


@dataclass(frozen=True)
class Preparation:
    """How a preset brings pictures to one size, real and generated ones alike."""

    said: str
    resize: Callable[[Image.Image], Image.Image]
    clean: bool
    """Inception's input by clean-fid's resizing, else by the network's own."""
    all_references: bool
    caption: str
    """What CLIP reads; ``{}`` is the caption."""


PREPARATIONS = {
    "llamagen": Preparation(
        "centre square, then Lanczos to 256 px",
        lambda picture: crop_then_resize(picture, 256, Image.Resampling.LANCZOS),
        clean=True,
        all_references=True,
        caption="A photo depicts {}",
    ),
    "kosmos_g": Preparation(
        "shorter side to 256 px (bilinear), then centre square",
        lambda picture: resize_then_crop(picture, 256, Image.Resampling.BILINEAR),
        clean=False,
        all_references=False,
        caption="{}",
    ),
    STAND_IN: Preparation(
        "centre square, then Lanczos to 64 px",
        lambda picture: crop_then_resize(picture, 64, Image.Resampling.LANCZOS),
        clean=True,
        all_references=True,
        caption="{}",
    ),
}
PRESETS: Mapping[str, Mapping[str, str]] = {
    "llamagen": {"inception": INCEPTION, "clip": CLIP},
    "kosmos_g": {"inception": INCEPTION, "clip": CLIP},
    STAND_IN: {"inception": STAND_IN, "clip": STAND_IN},
}


class CocoFid:
    """The benchmark: ``llamagen`` does what the official repository's evaluator does, ``kosmos_g`` what that paper did."""

    name = "coco_fid"
    title = "MS-COCO FID"
    columns: Mapping[str, str] = {"fid": "FID", "clip_t": "CLIP score"}
    presets: Sequence[str] = tuple(PRESETS)
    hub = ""

    def items(self, source: Source) -> list[Item]:
        """One item a caption, at most ``PICTURES``; ``ValueError`` for a folder without captions."""
        return [
            Item(f"{number:05d}", Prompt(text_to_image(caption)), seed=number, text=caption)
            for number, caption in enumerate(read_captions(source))
        ]

    def check(self, tools: Tools) -> None:
        """Raises ``ValueError`` for an unknown preset or backbone, or one that is not to be had."""
        preset, sources = chosen(tools, PRESETS)
        check_sources({"clip": sources["clip"]})
        _inception(sources["inception"], tools, PREPARATIONS[preset])

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        """FID of all pictures against the reference and the CLIP score of each; missing ones are left out and counted."""
        preset, sources = chosen(tools, PRESETS)
        preparation = PREPARATIONS[preset]
        inception = _inception(sources["inception"], tools, preparation)
        clip = load_clip(sources["clip"], tools.device)
        cache = FeatureCache(tools.cache)
        reference, said = reference_statistics(inception, tools, preset)
        rows: list[Features] = []
        records: list[Record] = []
        for start in range(0, len(items), tools.batch_size):
            part = range(start, min(start + tools.batch_size, len(items)))
            made = {number: preparation.resize(picture) for number in part if (picture := pictures[number])}
            if made:
                squares = list(made.values())
                rows.append(cache.images(inception, squares, count=len(squares)))
                texts = clip.texts([preparation.caption.format(items[number].text) for number in made])
                scores = dict(zip(made, cosine(cache.images(clip, squares, count=len(squares)), texts), strict=True))
            for number in part:
                numbers = {"clip_t": float(scores[number])} if number in made else {}
                records.append(Record(items[number].key, items[number].groups, numbers, _failure(number in made)))
            if tools.progress is not None:
                tools.progress("features", part.stop, len(items))
        summary = record_means(records, ["clip_t"], seed=tools.seed) | {"preset": preset}
        features = np.concatenate(rows)
        summary["fid"] = frechet_distance(Statistics.of(features), reference)
        return Scores(
            records,
            summary,
            {"inception": inception.name, "clip": clip.name},
            [
                f"Reference: {said}. Pictures, real and generated: {preparation.said}.",
                "The Frechet distance is this package's own (checked against scipy's matrix root); the features are those of "
                f"{inception.name}.",
                *_warnings(len(features), features.shape[1], preset),
            ],
            published_rows(self.name),
        )


def read_captions(source: Source) -> list[str]:
    """The captions to paint: those of coco_captions.csv, or one of each of 30,000 pictures of COCO's annotations."""
    table = source.folder / CAPTIONS
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            # One column, whose captions hold commas: LlamaGen reads it with tabs as separators.
            rows = list(csv.DictReader(file, delimiter="\t"))
        captions = [row.get("Prompt") or "" for row in rows]
        if not captions or not all(caption.strip() for caption in captions) or any(None in row for row in rows):
            raise ValueError(
                f"{table}: expected a column Prompt with a caption in every row, columns separated by tabs"
            )
        return captions[:PICTURES]
    path = source.folder / ANNOTATIONS
    if not path.is_file():
        raise ValueError(f"{source.folder}: expected {CAPTIONS} or {ANNOTATIONS} in it, found neither")
    try:
        annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]
        by_picture = {int(each["image_id"]): str(each["caption"]).strip() for each in reversed(annotations)}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected COCO's caption annotations ({type(error).__name__}: {error})") from error
    drawn = random.Random(DRAWN_WITH).sample(sorted(by_picture), min(PICTURES, len(by_picture)))
    return [by_picture[picture] for picture in drawn]


def reference_statistics(inception: Backbone, tools: Tools, preset: str) -> tuple[Statistics, str]:
    """The statistics that pictures are compared with, and where they are from; kept in the cache once computed."""
    given = tools.source.folder / f"statistics-{preset}.npz"
    if given.is_file():
        return Statistics.load(given), f"the precomputed {given.name}"
    preparation = PREPARATIONS[preset]
    files = picture_files(tools.source.folder / REFERENCE)
    if not preparation.all_references and len(files) > PICTURES:
        files = sorted(random.Random(DRAWN_WITH).sample(files, PICTURES))
    said = f"{len(files)} pictures of {REFERENCE}/"
    # The pictures' features are cached by content; this spares reading 40,000 files again to find that out.
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = hashlib.sha256(repr((seen, inception.fingerprint, preset)).encode()).hexdigest()[:24]
    kept = tools.cache / f"fid-reference-{key}.npz"
    if kept.is_file():
        return Statistics.load(kept), said
    squares: Iterator[Image.Image] = (preparation.resize(load_image(path)) for path in files)
    cache = FeatureCache(tools.cache, tools.progress)
    statistics = Statistics.of(cache.images(inception, squares, count=len(files), what="reference"))
    statistics.save(kept)
    return statistics, said


def _inception(source: str, tools: Tools, preparation: Preparation) -> Backbone:
    if source == STAND_IN:
        return PooledTrunk(tools.device)
    beside = tools.source.folder / source
    return Inception(str(beside if beside.is_file() else Path(source)), tools.device, clean=preparation.clean)


def _failure(made: bool) -> str | None:
    return None if made else "no picture"


def _warnings(count: int, width: int, preset: str) -> list[str]:
    notes = []
    if count < PICTURES:
        notes.append(
            f"{count} pictures, not {PICTURES}: FID is biased upwards by few pictures, compare only equal numbers."
        )
    if count <= width:
        notes.append(f"Fewer pictures than the {width} features: the covariance is singular.")
    if preset == STAND_IN:
        notes.append("Stand-in features: this is a Frechet distance but no FID, and compares with nothing published.")
    return notes


BENCHMARK = CocoFid()
