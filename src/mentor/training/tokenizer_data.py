"""Training pictures for the image tokenizer: an endless stream of scenes, addressed by number.

A scene of the embedded corpus is composed once at 128 pixels and seen ``VIEWS`` times: all views but the last are crops, the
last is the whole scene made small. Crops give a batch more different content at the same cost (a diverse batch is what keeps
the codebook alive), whole scenes show the tokenizer small pictures as it will meet them.

B batch, R picture side in pixels.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

from mentor.data.corpus import Corpus
from mentor.data.pixels import picture_pixels
from mentor.data.reconstruction import held_out_pictures
from mentor.data.render import render
from mentor.data.scenes import sample_scene
from mentor.training.protocol import WHOLE, Share

VIEWS = 4
"""Views of one scene: VIEWS - 1 crops and the whole scene."""
SCENE_SIZE = 128
CANDIDATES = 8
"""Random crops of which the one with the most contrast is kept."""


def held_out_scenes(corpus: Corpus, *, count: int, seed: int, size: int) -> tuple[Tensor, list[bool]]:
    """``held_out_pictures`` as float32 [count, 3, size, size] in [-1, 1], and which of them have a photo behind."""
    pictures = held_out_pictures(corpus, count=count, seed=seed, size=size)
    return picture_pixels([picture.image for picture in pictures]), [picture.photo for picture in pictures]


class TokenizerFeed:
    """Batches {"pixels": float32 [B, 3, R, R] in [-1, 1]} as a pure function of the seed and the batch's number."""

    def __init__(self, corpus: Corpus, *, batch_size: int, size: int = 64, seed: int = 0) -> None:
        if not 8 <= size <= SCENE_SIZE:
            raise ValueError(f"expected a crop of 8 to {SCENE_SIZE} pixels, got {size}")
        if batch_size < 1:
            raise ValueError(f"expected a batch of at least 1 picture, got {batch_size}")
        self.corpus, self.batch_size, self.size, self.seed = corpus.split("train"), batch_size, size, seed
        self.data = {"cut-outs": len(self.corpus.cutouts), "backgrounds": len(self.corpus.backgrounds)}

    def scene(self, number: int) -> Image.Image:
        """Scene ``number`` of the stream, RGB, 128 x 128."""
        drawn = sample_scene(self.corpus, np.random.default_rng((self.seed, number)))
        return render(drawn, self.corpus, SCENE_SIZE).image

    def view(self, scene: Image.Image, index: int) -> Image.Image:
        """View of picture ``index`` of the stream: a crop at a place that depends on the index, or the whole scene made small.

        Of ``CANDIDATES`` random crops the one with the most contrast is kept: most of a scene is plain background, which
        teaches little, and nearly all of the error lies on the objects.
        """
        if index % VIEWS == VIEWS - 1:
            return scene.resize((self.size, self.size), Image.Resampling.LANCZOS)
        corners = np.random.default_rng((self.seed, index, 1)).integers(
            0, SCENE_SIZE - self.size + 1, size=(CANDIDATES, 2)
        )
        grey = np.asarray(scene.convert("L"))
        windows = np.stack([grey[y : y + self.size, x : x + self.size] for x, y in corners.tolist()])
        x, y = corners[int(np.argmax(windows.std(axis=(1, 2))))].tolist()
        return scene.crop((x, y, x + self.size, y + self.size))

    def batch(self, index: int, share: Share = WHOLE) -> dict[str, Tensor]:
        """Pictures index * B to (index + 1) * B - 1 of the stream; each scene is composed once."""
        numbers = range(index * self.batch_size, (index + 1) * self.batch_size)[share.part]
        scenes = {number: self.scene(number) for number in {i // VIEWS for i in numbers}}
        return {"pixels": picture_pixels([self.view(scenes[i // VIEWS], i) for i in numbers])}
