"""Samples of one subject for a fine-tune: each picture of a folder in turn is drawn, another one of them is the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mentor.config.sources import PicturesOptions
from mentor.data import templates
from mentor.data.captions import caption
from mentor.data.catalog import catalog_of
from mentor.data.colours import COLOURS, jitter
from mentor.data.corpus import Corpus, Cutout
from mentor.data.distortion import distorted
from mentor.data.example import Example, Peers, checked_prompt
from mentor.data.finetune_folder import OwnPicture, read_pictures
from mentor.data.references import recovery_picture, reference_picture
from mentor.data.render import render
from mentor.data.scenes import compose
from mentor.data.squares import centre_square
from mentor.data.tasks import REFERENCE_SIZE
from mentor.prompt import IMAGE_PLACEHOLDER

TASK = "own_subject"
NEUTRAL = ("{}", "a picture of {}", "a photo of {}", "{} in a picture")
"""What is said of a whole picture without a caption."""


class PicturesSource:
    """Endless samples of the pictures in a folder, ``size`` pixels wide.

    A cut-out without a caption is the object of a new scene each time, a cut-out or photo with one is shown whole. The
    reference is another picture than the target's; where there is no other, the same one distorted as in recovery. The last
    ``options.held_out`` pictures are the targets of the split "held_out" and are shown nowhere else; without any, that
    split shows the same pictures in other samples. ValueError for a folder that cannot be used.
    """

    def __init__(self, folder: str | Path, options: PicturesOptions, *, split: str, size: int) -> None:
        subject = options.subject.strip()
        if not subject or IMAGE_PLACEHOLDER in subject or "\n" in subject:
            raise ValueError(f"subject: expected what the pictures show, for example 'mug', got {options.subject!r}")
        self.name, self.subject, self.size = str(folder), subject, size
        self.held_out = split == "held_out"
        self.reference_size = max(REFERENCE_SIZE, size)
        pictures = read_pictures(folder, options.captions, longest=max(256, 2 * size))
        if not 0 <= options.held_out < len(pictures):
            raise ValueError(
                f"{folder} holds too few pictures: {len(pictures)}, of which {options.held_out} are to be held out; "
                "at least one must be left to train with"
            )
        kept = len(pictures) - options.held_out
        self.references = pictures[:kept]
        self.targets = pictures[kept:] if self.held_out and options.held_out else self.references
        self.corpus = Corpus([self._entry(p.name, p.cutout) for p in pictures if p.cutout is not None], [])

    def __len__(self) -> int:
        return 0

    @property
    def held(self) -> str:
        return f"{len(self.references)} pictures"

    def target_numbers(self) -> NDArray[np.int64]:
        return np.empty(0, np.int64)

    def example(self, record: int, seed: int, peers: Peers | None = None) -> Example:
        rng = np.random.default_rng([seed, 1] if self.held_out else seed)
        target = self.targets[record % len(self.targets)]
        reference = self._reference(target, rng)
        words, picture, mask = self._target(target, rng)
        prompt = checked_prompt(templates.subjects([self.subject], words), [reference])
        return Example(prompt, picture, TASK, mask)

    def _target(
        self, target: OwnPicture, rng: np.random.Generator
    ) -> tuple[str, Image.Image, NDArray[np.bool_] | None]:
        if target.cutout is None or target.caption:
            words = target.caption or NEUTRAL[int(rng.integers(len(NEUTRAL)))].format(self.subject)
            return words, centre_square(target.image, self.size), None
        scene = compose(self.corpus, rng, [catalog_of(self.corpus).cutouts[target.name]])
        drawn = render(scene, self.corpus, self.size)
        return caption(scene, rng), drawn.image, drawn.masks[0]

    def _reference(self, target: OwnPicture, rng: np.random.Generator) -> Image.Image:
        side = self.reference_size
        others = [picture for picture in self.references if picture is not target]
        if others:
            shown = others[int(rng.integers(len(others)))]
            if shown.cutout is None:
                return shown.image  # whole, as a person will give it
            return reference_picture(shown.name, catalog_of(self.corpus), rng, side, same=False)
        if target.cutout is not None:
            return recovery_picture(target.name, catalog_of(self.corpus), rng, side)
        colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
        background = Image.new("RGB", (side, side), jitter(colour, rng))
        return distorted(centre_square(target.image, side), np.ones((side, side), bool), background, rng)

    def _entry(self, name: str, image: Image.Image) -> Cutout:
        return Cutout(
            key=name,
            subject=self.subject,
            noun=self.subject,
            category="own",
            style="",
            source="own",
            licence="",
            author="",
            identity=self.subject,
            concept=self.subject,
            view=0,
            split="train",
            image=image,
        )
