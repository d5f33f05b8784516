"""Prompts become tensors: the only place that tokenises, resizes and pads.

Shapes: B batch, S condition tokens, M images of all prompts in row-major order, R side of the vision tower's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from mentor.config.model import MentorConfig
from mentor.data.images import to_rgb
from mentor.prompt import IMAGE_PLACEHOLDER, Prompt


@dataclass
class PromptBatch:
    """``input_ids`` int64 [B, S] and ``attention_mask`` bool [B, S], right-padded; ``pixel_values`` float32 [M, 3, R, R]."""

    input_ids: Tensor
    attention_mask: Tensor
    pixel_values: Tensor

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same batch on another device."""
        return PromptBatch(self.input_ids.to(device), self.attention_mask.to(device), self.pixel_values.to(device))


class Processor:
    """Prompts -> ``PromptBatch``, for one model's configuration and text tokenizer.

    ``tokenizer`` must know ``<image>`` as the token ``config.language.image_token_id``; ValueError otherwise.
    """

    def __init__(self, config: MentorConfig, tokenizer: Tokenizer) -> None:
        known = tokenizer.token_to_id(IMAGE_PLACEHOLDER)
        if known != config.language.image_token_id:
            raise ValueError(
                f"the text tokenizer's id of {IMAGE_PLACEHOLDER} is {known}, the configuration's image_token_id is "
                f"{config.language.image_token_id}: tokenizer.json and config.json do not belong together"
            )
        self.config = config
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        # A "[SEP]" or "</s>" that a person types is text; only the template may add the real ones.
        self.tokenizer.encode_special_tokens = True

    def __call__(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """At least one prompt -> right-padded tensors; ValueError for a prompt longer than the model's context."""
        if not prompts:
            raise ValueError("expected at least one prompt, got none")
        input_ids, attention_mask = self.pad([self.encode_text(prompt.text) for prompt in prompts])
        pixels = [self.pixels(image) for prompt in prompts for image in prompt.images]
        side = self.config.vision.image_size
        return PromptBatch(input_ids, attention_mask, torch.stack(pixels) if pixels else torch.zeros(0, 3, side, side))

    def encode_text(self, text: str) -> list[int]:
        """A prompt's text -> ids, every ``<image>`` as ``tokens_per_image`` placeholders; ValueError if beyond the context."""
        images, repeat = text.count(IMAGE_PLACEHOLDER), self.config.vision.tokens_per_image
        ids = self.tokenizer.encode(text.replace(IMAGE_PLACEHOLDER, IMAGE_PLACEHOLDER * repeat)).ids
        assert ids.count(self.config.language.image_token_id) == images * repeat, "a placeholder was not kept whole"
        if len(ids) > self.config.context:
            raise ValueError(
                f"the prompt has {len(ids)} tokens ({images} images of {repeat}, {len(ids) - images * repeat} of text), "
                f"the model takes at most {self.config.context}: shorten the text or give fewer images"
            )
        return ids

    def pad(self, input_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids of B prompts -> int64 [B, S] padded on the right to the longest, and the mask bool [B, S] of real tokens."""
        lengths = torch.tensor([len(ids) for ids in input_ids])
        padded = torch.full((len(input_ids), int(lengths.max())), self.config.language.pad_token_id)
        for row, ids in enumerate(input_ids):
            padded[row, : len(ids)] = torch.tensor(ids)
        return padded, torch.arange(padded.shape[1]) < lengths.unsqueeze(1)

    def pixels(self, image: Image.Image) -> Tensor:
        """A picture of any size and mode -> float32 [3, R, R], normalised with the tower's mean and std."""
        vision = self.config.vision
        fit = fit_square if vision.fit == "pad" else crop_square
        scaled = torch.from_numpy(np.asarray(fit(to_rgb(image), vision.image_size), np.float32) / 255)
        normalised = (scaled - torch.tensor(vision.mean)) / torch.tensor(vision.std)
        return normalised.permute(2, 0, 1).contiguous()


def fit_square(image: Image.Image, side: int) -> Image.Image:
    """The whole picture, bicubically scaled until its longer side is ``side`` pixels, centred on a white square."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square = Image.new("RGB", (side, side), "white")
    square.paste(image.resize(size, Image.Resampling.BICUBIC), ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def crop_square(image: Image.Image, side: int) -> Image.Image:
    """The centre of the picture, bicubically scaled until its shorter side is ``side`` pixels (CLIP's preprocessing)."""
    shorter = min(image.size)
    size = (int(side * image.width / shorter), int(side * image.height / shorter))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
