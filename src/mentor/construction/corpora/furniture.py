"""Sweet Home 3D models rendered from several sides: the corpus's true multi-view subjects."""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mentor.construction.corpora.images import cut_out, encode_webp
from mentor.construction.corpora.nouns import clean_subject, head_noun, split_of, stable_hash
from mentor.construction.corpora.pack import Entry
from mentor.construction.corpora.rendering import render_views
from mentor.construction.fetch import PACKAGES, obtain, open_archive, read_member

# Degrees around the vertical axis from the front, and above the horizon; each model shifts them a little.
VIEWS = ((-60, 18), (-35, 26), (-12, 16), (14, 24), (38, 16), (64, 22))
MIN_VIEWS = 4
_LICENCES = {"BlendSwap-CC-0": "CC0-1.0"}
_FOLDER = "./usr/share/sweethome3d/furniture"
_CATALOGUES = ("BlendSwap-CC-0", "BlendSwap-CC-BY", "KatorLegaz", "Reallusion", "Scopia")
# People, pieces of buildings and of ground, sets of small things, and fixtures that all look alike.
_NOT_OBJECTS = re.compile(
    r"\b(?:male|female|girl|boy|woman|man|mannequin|arrow|window|door|doorway|wall|opening|slot|zones?|crossing|sidewalk|rails?|railing|room|"
    r"extension|unit|units|base|bill|plug|switch|socket|intercom|detector|strip|tool|tools|column|tatami|frame|"
    r"island|station|curtain|hedge|doormat|bathmat|carpet|rug|swimming pool|cooktop|vanity|cabinet|radiator|stall)\b"
)
_RENAMED = {
    "apple ibook": "laptop",
    "apple imac": "desktop computer",
    "apple iphone": "mobile phone",
    "barnum": "marquee tent",
    "bended coconut tree": "bent coconut tree",
    "bootie": "baby shoe",
    "car model": "car",
    "cctv": "surveillance camera",
    "chevrolet": "car",
    "class seat": "school chair",
    "concept sedan sport": "sports car",
    "concept sedan": "car",
    "convertible sofa bz": "convertible sofa",
    "couch": "sofa",
    "dart game": "dartboard",
    "entry bell ring": "door bell",
    "flipper": "pinball machine",
    "football table": "table football",
    "ford focus": "car",
    "fork lift": "forklift",
    "full bookcase": "bookcase",
    "gaz water heater": "water heater",
    "hashtray": "ashtray",
    "island bath": "bathtub",
    "lip stick": "lipstick",
    "little bank": "bench",
    "mocassin": "moccasin",
    "modern armchair": "armchair",
    "mower": "lawn mower",
    "mp base": "mp player",
    "opened convertible sofa bz": "convertible sofa",
    "osaka chair": "chair",
    "peugeot cc": "car",
    "plate glass and cutlery": "plate",
    "plate glasses and cutlery": "plate",
    "puff": "pouf",
    "renault scenic": "car",
    "rigged fan": "fan",
    "seat leon": "car",
    "short": "shorts",
    "smart car": "small car",
    "suv": "off-road car",
    "teck chair": "teak chair",
    "trunck": "trunk",
    "trouser": "trousers",
    "vw new beetle": "small car",
    "wood bank": "wooden bench",
    "yamaha yzr r": "racing motorcycle",
}


@dataclass(frozen=True)
class Model:
    """One model of a catalogue; ``rotation`` is its 3x3 matrix in row-major order."""

    key: str
    subject: str
    category: str
    author: str
    licence: str
    path: str
    rotation: tuple[float, ...]


def parse_catalogue(text: str, catalogue: str) -> list[Model]:
    """Models listed in a PluginFurnitureCatalog.properties file, without those that are no objects."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and "#" in name and not name.startswith("#"):
            values[name.strip()] = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), value.strip())
    models = []
    for field in sorted((name for name in values if name.startswith("model#")), key=lambda name: int(name[6:])):
        number = field[6:]
        name = clean_subject(values[f"name#{number}"])
        subject = _RENAMED.get(name, name)
        if not subject or _NOT_OBJECTS.search(subject) or values.get(f"doorOrWindow#{number}") == "true":
            continue
        rotation = values.get(f"modelRotation#{number}", "1 0 0 0 1 0 0 0 1")
        slug = re.sub(r"[^a-z0-9]+", "-", f"{catalogue} {values[f'id#{number}'].rpartition('#')[2]}".lower()).strip("-")
        models.append(
            Model(
                key=f"furniture/{slug}",
                subject=subject,
                category=clean_subject(values.get(f"category#{number}", "miscellaneous")),
                author=values.get(f"creator#{number}", catalogue),
                licence=_LICENCES.get(catalogue, "CC-BY-3.0"),
                path=values[field].lstrip("/"),
                rotation=tuple(float(value) for value in rotation.split()),
            )
        )
    return models


def _chroma(images: list[Image.Image]) -> float:
    """CIELAB chroma (0 grey, above 40 vivid) that a quarter of the visible pixels reach."""
    from skimage.color import rgb2lab

    visible = [pixels[pixels[:, 3] > 128, :3] for pixels in (np.asarray(image).reshape(-1, 4) for image in images)]
    lab = rgb2lab(np.concatenate(visible)[None].astype(np.float32) / 255)
    return float(np.percentile(np.hypot(lab[..., 1], lab[..., 2]), 75))


def _is_plain_box(image: Image.Image) -> bool:
    """Whether a view is a convex patch of hardly any detail, as a cupboard's or a board's."""
    from scipy.ndimage import binary_erosion
    from skimage.morphology import convex_hull_image

    pixels = np.asarray(image).astype(np.float32)
    solid = pixels[..., 3] > 128
    grey = pixels[..., :3].mean(-1)
    detail = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    inside = binary_erosion(solid, iterations=3)[1:, 1:]
    convex = solid.sum() / max(1, convex_hull_image(solid).sum())
    return bool(convex > 0.97 and np.mean(detail[inside] > 12) < 0.02)


def keep_model(name: str, images: list[Image.Image]) -> bool:
    """Whether enough good views remain: not see-through, no plain box, and only a quarter of the colourless models."""
    if len(images) < MIN_VIEWS:
        return False
    alphas = [np.asarray(image.getchannel("A")) for image in images]
    if np.mean([np.mean(alpha[alpha > 8] < 200) for alpha in alphas]) > 0.55:
        return False
    if sum(map(_is_plain_box, images)) * 2 > len(images):
        return False
    return _chroma(images) >= 12 or stable_hash(name) % 4 == 0


def view_angles(key: str) -> list[tuple[float, float]]:
    """Azimuth and elevation in degrees of a model's views: the common ones with shifts drawn from its key."""
    shifts = np.random.default_rng(stable_hash(key)).uniform(-1, 1, (len(VIEWS), 2))
    return [(azimuth + 9 * a, elevation + 6 * b) for (azimuth, elevation), (a, b) in zip(VIEWS, shifts, strict=True)]


def furniture_entries_of(task: tuple[Model, Path]) -> list[Entry]:
    """Pack entries of one model's views, or nothing if it is not kept; the catalogue zip is the task's path."""
    model, catalogue = task
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(catalogue) as archive:
        directory = model.path.rpartition("/")[0] + "/"
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(directory)])
        pictures = render_views(Path(folder) / model.path, model.rotation, view_angles(model.key))
    views = [(view, image) for view, picture in enumerate(pictures) if (image := cut_out(picture)) is not None]
    if not keep_model(model.key, [image for _, image in views]):
        return []
    noun = head_noun(model.subject)
    meta: dict[str, Any] = {
        "subject": model.subject,
        "noun": noun,
        "category": model.category,
        "style": "rendered",
        "source": "furniture",
        "licence": model.licence,
        "author": model.author,
        "identity": model.key,
        "concept": model.subject.replace(" ", "-"),
        "split": split_of(noun),
    }
    return [Entry({**meta, "key": f"{model.key}-{view}", "view": view}, encode_webp(image)) for view, image in views]


def furniture_entries(cache: Path, run: Callable[..., Iterator[list[Entry]]]) -> Iterator[Entry]:
    """Entries of all kept models, catalogue by catalogue; a model whose views equal an earlier model's is left out."""
    seen: set[bytes] = set()
    with tempfile.TemporaryDirectory() as folder:
        tasks = []
        with open_archive(obtain(PACKAGES["sweethome3d-furniture"], cache)) as archive:
            for name in _CATALOGUES:
                path = Path(folder) / f"{name}.sh3f"
                path.write_bytes(read_member(archive, f"{_FOLDER}/{path.name}"))
                with zipfile.ZipFile(path) as catalogue:
                    text = catalogue.read("PluginFurnitureCatalog.properties").decode("latin-1")
                tasks += [(model, path) for model in parse_catalogue(text, name)]
        for entries in run(furniture_entries_of, tasks):
            look = b"".join(_thumbnail(entry.webp) for entry in entries[:3])
            if entries and look not in seen:
                seen.add(look)
                yield from entries


def _thumbnail(webp: bytes) -> bytes:
    """Coarse picture that is the same for near-identical renders."""
    image = Image.open(io.BytesIO(webp)).resize((6, 6), Image.Resampling.BOX)
    return (np.asarray(image) // 43).tobytes()
