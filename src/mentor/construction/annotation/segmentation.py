"""Masks of located objects (appendix D, segmentation): Segment Anything, or contrast alone where no weights are at hand.

H, W: the picture's height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mentor.construction.annotation.location import Location


@dataclass(frozen=True)
class Mask:
    """The pixels of one object, bool [H, W], and how sure the segmenter is, 0 to 1."""

    pixels: NDArray[np.bool_]
    score: float


class Segmenter(Protocol):
    """Anything that finds the pixels of located objects."""

    name: str

    def __call__(self, picture: Image.Image, locations: Sequence[Location]) -> list[Mask]: ...


class SegmentAnything:
    """Segment Anything (Kirillov et al. 2023) through ``transformers``: of its three masks the one it likes best."""

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self.name = name
        self._model, self._processor = model.eval(), processor

    @classmethod
    def load(cls, name: str, *, device: str = "cpu") -> SegmentAnything:
        """A folder or a name on the hub, ``facebook/sam-vit-huge``; ``ValueError`` when it cannot be loaded."""
        from transformers import SamImageProcessorPil, SamModel, SamProcessor

        repository, _, revision = name.partition("@")
        asked = {"revision": revision} if revision else {}
        try:
            processor = SamProcessor(SamImageProcessorPil.from_pretrained(repository, **asked))
            model = SamModel.from_pretrained(repository, **asked)
        except (OSError, ValueError, ImportError) as error:
            raise ValueError(f"{name!r}: cannot be loaded as a Segment Anything model ({error})") from error
        return cls(model.to(device), processor, name)

    @torch.inference_mode()
    def __call__(self, picture: Image.Image, locations: Sequence[Location]) -> list[Mask]:
        """One mask for each location; the picture itself is looked at once."""
        if not locations:
            return []
        seen = self._processor(picture, return_tensors="pt").to(self._model.device)
        embeddings = self._model.get_image_embeddings(seen["pixel_values"])
        return [self._mask(picture, location, embeddings) for location in locations]

    def _mask(self, picture: Image.Image, location: Location, embeddings: torch.Tensor) -> Mask:
        side = picture.size * 2
        prompts: dict[str, Any] = {
            "input_boxes": [[[share * length for share, length in zip(location.box, side, strict=True)]]]
        }
        if location.points:
            prompts["input_points"] = [[[[x * side[0], y * side[1]] for x, y in location.points]]]
            prompts["input_labels"] = [[[1] * len(location.points)]]
        inputs = self._processor(picture, **prompts, return_tensors="pt").to(self._model.device)
        inputs.pop("pixel_values")
        sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
        found = self._model(image_embeddings=embeddings, **inputs, multimask_output=True)
        best = int(found.iou_scores[0, 0].argmax())
        masks = self._processor.image_processor.post_process_masks(
            found.pred_masks.float().cpu(), *(s.cpu() for s in sizes)
        )
        return Mask(masks[0][0, best].numpy(), float(found.iou_scores[0, 0, best].clamp(0, 1)))


class Contrast:
    """What differs in colour from the frame of its box: for plain backgrounds and dry runs, no model."""

    name = "contrast"
    DIFFERENT = 40.0
    """Distance in RGB, 0 to 442."""

    def __call__(self, picture: Image.Image, locations: Sequence[Location]) -> list[Mask]:
        """One mask for each location; the score is the share of its points that lie on it, 1 without points."""
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
        return [self._mask(pixels, location) for location in locations]

    def _mask(self, pixels: NDArray[np.float32], location: Location) -> Mask:
        height, width = pixels.shape[:2]
        left, right = int(location.box[0] * width), max(int(location.box[2] * width), int(location.box[0] * width) + 1)
        top, bottom = (
            int(location.box[1] * height),
            max(int(location.box[3] * height), int(location.box[1] * height) + 1),
        )
        around = np.ones((height, width), bool)
        around[top:bottom, left:right] = False
        ring = np.zeros_like(around)
        ring[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
        frame = pixels[ring & around] if (ring & around).any() else pixels[top:bottom, left:right].reshape(-1, 3)
        differs = np.linalg.norm(pixels - np.median(frame, axis=0), axis=-1) > self.DIFFERENT
        mask = differs & ~around
        hits = [mask[min(height - 1, int(y * height)), min(width - 1, int(x * width))] for x, y in location.points]
        return Mask(mask, float(np.mean(hits)) if hits else 1.0)
