"""DreamBench (Ruiz et al.): 30 subjects x 25 prompts, judged by DINO, CLIP-I and CLIP-T.

Layout, as in the repository google/dreambooth: ``dataset/<subject>/*.jpg`` and ``dataset/prompts_and_classes.txt``, which holds
the subjects' classes and the two lists of prompts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from mentor.data.images import load_image
from mentor.data.templates import subjects
from mentor.evaluation.backbones import check_sources, chosen, load_clip, load_dino
from mentor.evaluation.feature_cache import FeatureCache
from mentor.evaluation.folders import picture_files
from mentor.evaluation.metrics import cosine, mean_cosine
from mentor.evaluation.networks import Features
from mentor.evaluation.protocol import Item, Record, Scores, Source, Tools
from mentor.evaluation.published import published_rows
from mentor.evaluation.record_means import record_means
from mentor.evaluation.stand_ins import STAND_IN
from mentor.prompt import Prompt

LIVE_CLASSES = ("cat", "dog")
"""The classes of the nine live subjects, which have their own prompts; the file does not mark them."""
SAMPLES = 4
"""Pictures of each prompt in the original protocol."""
PRESETS: Mapping[str, Mapping[str, str]] = {
    "dreambench_pp": {
        "clip": "openai/clip-vit-base-patch32",
        "dino": "facebook/dino-vits8",
        "dinov2": "facebook/dinov2-small",
    },
    "original": {
        "clip": "openai/clip-vit-base-patch32",
        "dino": "facebook/dino-vits16",
        "dinov2": "facebook/dinov2-small",
    },
    STAND_IN: {"clip": STAND_IN, "dino": STAND_IN, "dinov2": STAND_IN},
}
_PROMPT = re.compile(r"""^\s*(['"])(?P<prompt>.*\{1\}.*)\1\s*\.format\(""")


class DreamBench:
    """The benchmark; features are compared by their cosine (the paper prints it x 100).

    Preset ``dreambench_pp`` (most probably the paper's): DINO ViT-S/8, each picture against the one reference that the
    model saw. Preset ``original``: DINO ViT-S/16, the mean over all pictures of the subject.
    """

    name = "dreambench"
    title = "DreamBench"
    columns: Mapping[str, str] = {"dino": "DINO", "dinov2": "DINOv2", "clip_i": "CLIP-I", "clip_t": "CLIP-T"}
    presets: Sequence[str] = tuple(PRESETS)
    hub = "google/dreambooth"

    def __init__(self, samples: int = SAMPLES) -> None:
        self.samples = samples

    def items(self, source: Source) -> list[Item]:
        """One item for each sample, subject and prompt; ``ValueError`` for a folder of another layout."""
        folder = source.folder if (source.folder / "prompts_and_classes.txt").is_file() else source.file("dataset")
        classes, objects, live = read_prompts(folder / "prompts_and_classes.txt")
        references = {
            subject: tuple(load_image(path) for path in picture_files(folder / subject)) for subject in classes
        }
        items = []
        for subject, kind in classes.items():
            groups = {"subject": subject, "kind": "live" if kind in LIVE_CLASSES else "object"}
            for number, prompt in enumerate(live if groups["kind"] == "live" else objects):
                text = prompt.replace("{0} ", "").replace("{1}", kind)
                shown = Prompt(subjects([kind], text), references[subject][:1])
                items += [
                    Item(
                        f"{subject}/{number:02d}_{sample}", shown, sample, references[subject], text=text, groups=groups
                    )
                    for sample in range(self.samples)
                ]
        return items

    def check(self, tools: Tools) -> None:
        """Raises ``ValueError`` for an unknown preset or backbone, or one that is not to be had."""
        check_sources(chosen(tools, PRESETS)[1])

    def score(self, items: Sequence[Item], pictures: Sequence[Image.Image | None], tools: Tools) -> Scores:
        """DINO, DINOv2, CLIP-I and CLIP-T of each picture; one that is missing is left out of the means and counted."""
        preset, sources = chosen(tools, PRESETS)
        all_references = preset == "original"
        clip = load_clip(sources["clip"], tools.device)
        networks = {"clip_i": clip, **{role: load_dino(sources[role], tools.device) for role in ("dino", "dinov2")}}
        cache = FeatureCache(tools.cache)
        # An item's references are the same objects as those of its subject's other items, so each is hashed once.
        references = {id(picture): picture for item in items for picture in _compared(item, all_references)}
        tables: dict[str, dict[int, Features]] = {}
        for name, network in networks.items():
            rows = cache.images(network, list(references.values()), count=len(references))
            tables[name] = dict(zip(references, rows, strict=True))
        records: list[Record] = []
        for start in range(0, len(items), tools.batch_size):
            part = range(start, min(start + tools.batch_size, len(items)))
            made = {number: picture for number in part if (picture := pictures[number])}
            numbers: dict[int, dict[str, float]] = {number: {} for number in made}
            for name, network in networks.items() if made else ():
                rows = cache.images(network, list(made.values()), count=len(made))
                for row, number in zip(rows, made, strict=True):
                    compared = [tables[name][id(picture)] for picture in _compared(items[number], all_references)]
                    numbers[number][name] = mean_cosine(row, compared)
                if name == "clip_i":
                    texts = clip.texts([items[number].text for number in made])
                    for number, value in zip(made, cosine(rows, texts), strict=True):
                        numbers[number]["clip_t"] = float(value)
            for number in part:
                failure = None if number in made else "no picture"
                records.append(Record(items[number].key, items[number].groups, numbers.get(number, {}), failure))
            if tools.progress is not None:
                tools.progress("features", part.stop, len(items))
        return Scores(
            records,
            record_means(records, self.columns, seed=tools.seed) | {"preset": preset},
            {"clip": clip.name, "dino": networks["dino"].name, "dinov2": networks["dinov2"].name},
            _notes(preset),
            published_rows(self.name),
        )


def read_prompts(path: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """Subject -> class, the prompts of objects and those of live subjects, with ``{0}`` and ``{1}`` still in them.

    Raises ``ValueError`` for a file that is missing or has no such parts.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: cannot be read; expected the prompts_and_classes.txt of google/dreambooth"
        ) from error
    classes: dict[str, str] = {}
    prompts: dict[str, list[str]] = {"object": [], "live": []}
    part = ""
    for line in (each.strip() for each in lines):
        found = _PROMPT.match(line)
        if line.lower() in ("object prompts", "live subject prompts"):
            part = line.split()[0].lower()
        elif found and part:
            prompts[part].append(found["prompt"])
        elif not part and line.count(",") == 1 and line != "subject_name,class":
            subject, kind = line.split(",")
            classes[subject.strip()] = kind.strip()
    if not classes or not prompts["object"] or not prompts["live"]:
        raise ValueError(
            f"{path}: expected lines subject,class and the lists Object Prompts and Live Subject Prompts, found "
            f"{len(classes)} subjects, {len(prompts['object'])} and {len(prompts['live'])} prompts"
        )
    return classes, prompts["object"], prompts["live"]


def _compared(item: Item, all_references: bool) -> tuple[Image.Image, ...]:
    return item.references if all_references else item.references[:1]


def _notes(preset: str) -> list[str]:
    notes = [
        "Cosines (the paper prints them x 100), means over all scored pictures.",
        "A prompt names the subject by its class word; there is no identifier token.",
    ]
    if preset == "original":
        return [*notes, "Preset original: each picture against all real pictures of its subject."]
    notes.append(f"Preset {preset}: each picture against the one reference that the model saw (the first by name).")
    if preset == STAND_IN:
        notes.append("Stand-in backbones: the numbers show that the run works and compare with nothing published.")
    return notes


BENCHMARK = DreamBench()
