"""What GenEval sees with: detectors that find objects with their masks, and namers that say an object's colour.

The official benchmark uses mmdet's Mask2Former and CLIP ViT-L/14; here the same networks come through ``transformers``. The
packaged stand-ins read the mini's pictures, in which objects stand on plain ground.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from mentor.checkpoint.networks import load_network, load_part
from mentor.data.colours import COLOURS as SRGB
from mentor.data.colours import lab
from mentor.evaluation.backbones import TextBackbone
from mentor.evaluation.checker import parse
from mentor.evaluation.feature_cache import content
from mentor.evaluation.networks import described, fingerprint
from mentor.evaluation.subject_features import SubjectFeatures, similarity_table, subject_crop
from mentor.models.perceptual import STLPIPS

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
"""GenEval's colours."""
GROUND = "#999999"
"""What the colour classifier sees around an object."""
LOWEST_SCORE = 0.3
"""Objects below are not returned: no task of GenEval looks at them."""
LABELS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "computer mouse", "tv remote", "computer keyboard", "cell phone", "microwave", "oven", "toaster",
    "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""COCO's 80 classes in their order, by the names that GenEval's prompts use."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One object: its class, the detector's certainty in [0, 1], its box in pixels (left, top, right, bottom) and its mask."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_]
    """[height, width] of the picture."""


class Detector(Protocol):
    """Finds objects in one RGB picture of any size."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Changes whenever it may find other objects in the same picture."""

    @property
    def labels(self) -> Sequence[str]:
        """Classes that it can find."""

    def __call__(self, picture: Image.Image) -> list[Detection]: ...


class ColourNamer(Protocol):
    """Says for each object which of ``COLOURS`` it has."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Changes whenever it may name another colour for the same object."""

    def __call__(self, picture: Image.Image, objects: Sequence[Detection], label: str) -> list[str]: ...


class Mask2Former:
    """Mask2Former for COCO instances through ``transformers``, from a hub id or a local folder.

    It sees pictures at ``side`` pixels (the shorter side) as mmdet's test pipeline shows them, not at the 384 x 384 of
    the hub's own settings.
    """

    def __init__(self, source: str, device: str = "cpu", *, side: int = 800) -> None:
        from transformers import Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil

        self.model = load_network(Mask2FormerForUniversalSegmentation, "Mask2Former", source).to(device)
        size = {"shortest_edge": side, "longest_edge": side * 5 // 3}
        self._processor = load_part(Mask2FormerImageProcessorPil, "Mask2Former's image processor", source, size=size)
        names = self.model.config.id2label
        if len(names) != len(LABELS) or names[len(LABELS) - 1] not in (LABELS[-1], f"LABEL_{len(LABELS) - 1}"):
            raise ValueError(
                f"{source}: expected a Mask2Former of COCO's {len(LABELS)} classes, from {LABELS[0]} to {LABELS[-1]}, got "
                f"{len(names)} classes from {names[0]} to {names[len(names) - 1]}"
            )
        self.name, self.labels = f"Mask2Former at {side} px {described(source, self.model)}", LABELS
        self.fingerprint = fingerprint(self.model, self.name)

    @torch.inference_mode()
    def __call__(self, picture: Image.Image) -> list[Detection]:
        rgb = picture.convert("RGB")
        inputs = self._processor(images=[rgb], return_tensors="pt").to(self.model.device)
        outputs = self.model(**inputs)
        # As mmdet does: the best pairs of query and class, masks at the picture's size, certainty of the class times the
        # mask's. transformers' own post-processing makes its masks at 384 x 384 and enlarges them without smoothing.
        chances = outputs.class_queries_logits[0].softmax(-1)[:, :-1]
        scores, places = chances.flatten().topk(len(chances))
        logits = outputs.masks_queries_logits[0, places // len(LABELS)]
        logits = F.interpolate(logits[None], rgb.size[::-1], mode="bilinear", align_corners=False)[0]
        masks = logits > 0
        sizes = masks.sum((1, 2))
        scores = scores * (logits.sigmoid() * masks).sum((1, 2)) / (sizes + 1e-6)
        return [
            Detection(LABELS[int(places[number]) % len(LABELS)], float(scores[number]), box_of(mask), mask)
            for number in ((scores >= LOWEST_SCORE) & (sizes > 0)).nonzero().flatten().tolist()
            for mask in [masks[number].cpu().numpy()]
        ]


class PrototypeDetector:
    """Stand-in: objects on plain ground found by classical image processing, named after the most alike prototype.

    ``prototypes`` are pictures with alpha of the classes that can be found, at least two. Every object has the same score.
    """

    name = "stand-in: scene checker and nearest prototype (packaged)"
    SIDE = 128

    def __init__(self, prototypes: Mapping[str, Sequence[Image.Image]]) -> None:
        crops = [(label, subject_crop(each)) for label, pictures in prototypes.items() for each in pictures]
        self.labels = tuple(prototypes)
        shown = "".join(label + content(crop) for label, crop in crops)
        self.fingerprint = hashlib.sha256(shown.encode()).hexdigest()[:16]
        self._names = [label for label, _ in crops]
        self._features = SubjectFeatures(STLPIPS(), [crop for _, crop in crops])
        self._prototypes = self._features.describe([crop for _, crop in crops])

    def __call__(self, picture: Image.Image) -> list[Detection]:
        small = picture.convert("RGB").resize((self.SIDE, self.SIDE), Image.Resampling.BICUBIC)
        masks = [each.mask for each in parse(small).objects]
        if not masks:
            return []
        crops = [subject_crop(small, mask) for mask in masks]
        nearest = similarity_table(self._features.describe(crops), self._prototypes).argmax(axis=1)
        whole = [np.asarray(Image.fromarray(mask).resize(picture.size, Image.Resampling.NEAREST)) for mask in masks]
        return [
            Detection(self._names[number], 1.0, box_of(mask), mask)
            for number, mask in zip(nearest, whole, strict=True)
            if mask.any()
        ]


class ClipColours:
    """CLIP names the colour: the object on gray ground against three phrases for each colour, averaged."""

    def __init__(self, clip: TextBackbone) -> None:
        self._clip, self.name, self.fingerprint = clip, clip.name, clip.fingerprint
        self._phrases: dict[str, NDArray[np.float32]] = {}

    def __call__(self, picture: Image.Image, objects: Sequence[Detection], label: str) -> list[str]:
        if label not in self._phrases:
            self._phrases[label] = np.stack([self._phrase(colour, label) for colour in COLOURS])
        seen = self._clip.images([cut_out(picture, each) for each in objects])
        return [COLOURS[best] for best in (_unit(seen) @ self._phrases[label].T).argmax(axis=1)]

    def _phrase(self, colour: str, label: str) -> NDArray[np.float32]:
        phrases = [
            f"a photo of a {colour} {label}",
            f"a photo of a {colour}-colored {label}",
            f"a photo of a {colour} object",
        ]
        return _unit(_unit(self._clip.texts(phrases)).mean(axis=0))


class NearestColours:
    """Stand-in: the colour nearest to most of the object's pixels in CIE L*a*b*."""

    name = "stand-in: nearest named colour (packaged)"
    fingerprint = "nearest-colours-1"

    def __call__(self, picture: Image.Image, objects: Sequence[Detection], label: str) -> list[str]:
        pixels, known = lab(np.asarray(picture.convert("RGB"))), lab(np.array([SRGB[name] for name in COLOURS]))
        nearest = np.linalg.norm(pixels[:, :, None] - known, axis=-1).argmin(axis=-1)
        return [COLOURS[np.bincount(nearest[each.mask], minlength=len(COLOURS)).argmax()] for each in objects]


def cut_out(picture: Image.Image, found: Detection) -> Image.Image:
    """The object's box with everything outside its mask in gray."""
    mask = Image.fromarray(found.mask)
    left, top, right, bottom = (round(side) for side in found.box)
    shown = Image.composite(picture.convert("RGB"), Image.new("RGB", picture.size, GROUND), mask)
    return shown.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def box_of(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The smallest box around a mask with at least one true pixel."""
    box = Image.fromarray(mask).getbbox()
    assert box is not None, "an empty mask"
    return box


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features / np.linalg.norm(features, axis=-1, keepdims=True)
