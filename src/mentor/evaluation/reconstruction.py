"""Image reconstruction (paper table 5): a picture goes in, the same picture should come out.

Layout: a folder of pictures (COCO and JourneyDB subsets in the paper), and beside them, if there are captions, ``captions.csv``
with the columns ``image`` and ``caption`` or ``captions.jsonl`` with the same keys; ``image`` is a path inside the folder.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mentor.data.images import load_image
from mentor.data.templates import reconstruct
from mentor.evaluation.backbones import TextBackbone, check_sources, chosen, load_clip
from mentor.evaluation.feature_cache import FeatureCache
from mentor.evaluation.folders import crop_then_resize, picture_files
from mentor.evaluation.metrics import PIXEL_METRICS, PerceptualDistances, cosine, pixel_distances
from mentor.evaluation.protocol import Item, Record, Scores, Source, Tools
from mentor.evaluation.published import published_rows
from mentor.evaluation.record_means import record_means
from mentor.evaluation.stand_ins import STAND_IN
from mentor.prompt import Prompt

SIDE = 512
"""Side in pixels of the targets: that of the full-size model's pictures. Smaller pictures are not enlarged."""
PRESETS: Mapping[str, Mapping[str, str]] = {
    "clip_b32": {"clip": "openai/clip-vit-base-patch32"},
    "clip_l14": {"clip": "openai/clip-vit-large-patch14"},
    STAND_IN: {"clip": STAND_IN},
}
NOTES = [
    "Every picture is cut to its centred square; the model's answer is compared with that square scaled to the answer's size.",
    "L2 is the mean squared error per pixel and channel on [-1, 1], the one candidate that the paper's numbers fit; "
    "the paper does not define it, and it names neither its pictures nor its CLIP.",
]


class Reconstruction:
    """The benchmark: L2 under its candidate definitions, PSNR, SSIM, perceptual distance, CLIP similarity."""

    name = "reconstruction"
    title = "Image reconstruction"
    columns: Mapping[str, str] = {
        **PIXEL_METRICS,
        "l2": "L2 (MSE on [-1,1])",
        "st_lpips": "ST-LPIPS",
        "lpips": "LPIPS",
        "clip_i": "CLIP-I",
    }
    presets: Sequence[str] = tuple(PRESETS)
    hub = ""

    def items(self, source: Source) -> list[Item]:
        """One item a picture, in the files' order; ``ValueError`` for no pictures, or captions of pictures not there."""
        captions = read_captions(source.folder)
        items = []
        for path in picture_files(source.folder):
            key = path.relative_to(source.folder).as_posix()
            picture = load_image(path)
            square = crop_then_resize(picture, min(SIDE, *picture.size), Image.Resampling.LANCZOS)
            text = captions.pop(key, "")
            prompt = Prompt(reconstruct(text), [square])
            groups = {"folder": key.split("/")[0]} if "/" in key else {}
            key = key.rsplit(".", 1)[0]
            items.append(Item(key, prompt, references=(square,), target=square, text=text, groups=groups))
        if captions:
            raise ValueError(f"{source.folder}: the captions name {next(iter(captions))}, which is not there")
        return items

    def check(self, tools: Tools) -> None:
        """Raises ``ValueError`` for an unknown preset or backbone, or one that is not to be had."""
        check_sources(chosen(tools, PRESETS)[1])

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        """Distances of each picture from its target; one that is missing is left out of the means and counted."""
        preset, sources = chosen(tools, PRESETS)
        clip = load_clip(sources["clip"], tools.device)
        perceptual = PerceptualDistances(tools.device)
        cache = FeatureCache(tools.cache)
        records: list[Record] = []
        for start in range(0, len(items), tools.batch_size):
            part = range(start, min(start + tools.batch_size, len(items)))
            pairs = {number: _pair(items[number], picture) for number in part if (picture := pictures[number])}
            similar = _similarities(clip, cache, list(pairs.values()))
            for number in part:
                item, numbers = items[number], {}
                if number in pairs:
                    numbers = {**pixel_distances(*pairs[number]), **perceptual(*pairs[number]), "clip_i": next(similar)}
                records.append(Record(item.key, item.groups, numbers, None if numbers else "no picture"))
            if tools.progress is not None:
                tools.progress("distances", part.stop, len(items))
        backbones = {"clip": clip.name, "perceptual": ", ".join(perceptual.names.values())}
        summary = record_means(records, self.columns, seed=tools.seed) | {"preset": preset}
        return Scores(records, summary, backbones, NOTES, published_rows(self.name))


def _pair(item: Item, picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The answer and its target as squares of the answer's size."""
    assert item.target is not None
    side = min(picture.size)
    answer = crop_then_resize(picture, side, Image.Resampling.LANCZOS)
    return answer, crop_then_resize(item.target, side, Image.Resampling.LANCZOS)


def _similarities(
    clip: TextBackbone, cache: FeatureCache, pairs: Sequence[tuple[Image.Image, Image.Image]]
) -> Iterator[float]:
    if not pairs:
        return iter(())
    features = cache.images(clip, [each for pair in pairs for each in pair], count=2 * len(pairs))
    return iter(cosine(features[::2], features[1::2]).tolist())


def read_captions(folder: Path) -> dict[str, str]:
    """Picture's path in the folder -> caption, from captions.csv or captions.jsonl; empty when there is neither."""
    table, lines = folder / "captions.csv", folder / "captions.jsonl"
    rows: list[Any] = []
    try:
        if table.is_file():
            with table.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        elif lines.is_file():
            rows = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines() if line.strip()]
        return {str(row["image"]): str(row["caption"]) for row in rows}
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{folder}: expected captions with `image` and `caption` in every row, got {type(error).__name__}: {error}"
        ) from error


BENCHMARK = Reconstruction()
