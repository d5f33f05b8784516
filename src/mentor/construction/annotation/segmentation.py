"""Masks of located objects (appendix D, segmentation): Segment Anything, or contrast alone where no weights are at hand.

H, W: the picture's height and width.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mentor.checkpoint.networks import load_network, load_part
from mentor.construction.annotation.location import Location

WHAT = "Segment Anything"


@dataclass(frozen=True)
class Mask:
    """The pixels of one object, bool [H, W], and how sure the segmenter is, 0 to 1."""

    pixels: NDArray[np.bool_]
    score: float


class Segmenter(Protocol):
    """Anything that finds the pixels of located objects."""

    def __call__(self, picture: Image.Image, locations: Sequence[Location]) -> list[Mask]: ...


class SegmentAnything:
    """Segment Anything (Kirillov et al. 2023) through ``transformers``: of its three masks the one it likes best."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model, self._processor = model.eval(), processor
        self._turn = threading.Lock()

    @classmethod
    def load(cls, name: str, *, device: str = "cpu") -> SegmentAnything:
        """A folder or a name on the hub, ``facebook/sam-vit-huge``; ``ValueError`` when it cannot be loaded."""
        from transformers import SamConfig, SamImageProcessorPil, SamModel, SamProcessor

        config = load_part(SamConfig, WHAT, name)
        processor = SamProcessor(load_part(SamImageProcessorPil, WHAT, name))
        return cls(load_network(SamModel, WHAT, name, config=config).to(device), processor)

    def __call__(self, picture: Image.Image, locations: Sequence[Location]) -> list[Mask]:
        """One mask for each location; may be called by several threads."""
        masks: dict[int, Mask] = {}
        for pointed in (True, False):  # prompts of one call have the same form
            chosen = [number for number, place in enumerate(locations) if bool(place.points) is pointed]
            if chosen:
                masks |= zip(chosen, self._masks(picture, [locations[number] for number in chosen]), strict=True)
        return [masks[number] for number in range(len(locations))]

    @torch.inference_mode()
    def _masks(self, picture: Image.Image, locations: Sequence[Location]) -> list[Mask]:
        width, height = picture.size
        corners = [
            [each.box[0] * width, each.box[1] * height, each.box[2] * width, each.box[3] * height] for each in locations
        ]
        prompts: dict[str, Any] = {"input_boxes": [corners]}
        most = max(len(each.points) for each in locations)
        if most:  # the last point again where an object has fewer
            filled = [[*each.points, *[each.points[-1]] * (most - len(each.points))] for each in locations]
            prompts["input_points"] = [[[[x * width, y * height] for x, y in points] for points in filled]]
            prompts["input_labels"] = [[[1] * most] * len(locations)]
        inputs = self._processor(picture, **prompts, return_tensors="pt")
        sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
        ready = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
        with self._turn:
            found = self._model(
                **{name: value.to(self._model.device) for name, value in ready.items()}, multimask_output=True
            )
        scores, best = found.iou_scores[0].cpu().max(dim=-1)
        likeliest = found.pred_masks[0].float().cpu()[torch.arange(len(locations)), best]
        pixels = self._processor.image_processor.post_process_masks(likeliest[None, :, None], *sizes)[0]
        return [Mask(pixels[n, 0].numpy(), float(score)) for n, score in enumerate(scores.clamp(0, 1))]


class Contrast:
    """What differs in colour from the frame of its box: for plain backgrounds and dry runs, no model."""

    DIFFERENT = 40.0
    """Distance in RGB, 0 to 442."""

    def __call__(self, picture: Image.Image, locations: Sequence[Location]) -> list[Mask]:
        """One mask for each location; the score is the share of its points that lie on it, 1 without points."""
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
        return [self._mask(pixels, location) for location in locations]

    def _mask(self, pixels: NDArray[np.float32], location: Location) -> Mask:
        height, width = pixels.shape[:2]
        left, top = int(location.box[0] * width), int(location.box[1] * height)
        right, bottom = max(int(location.box[2] * width), left + 1), max(int(location.box[3] * height), top + 1)
        around = np.ones((height, width), bool)
        around[top:bottom, left:right] = False
        ring = np.zeros_like(around)
        ring[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
        frame = pixels[ring & around] if (ring & around).any() else pixels[top:bottom, left:right].reshape(-1, 3)
        differs = np.linalg.norm(pixels - np.median(frame, axis=0), axis=-1) > self.DIFFERENT
        mask = differs & ~around
        on = location.on(mask)
        return Mask(mask, 1.0 if on is None else on)
