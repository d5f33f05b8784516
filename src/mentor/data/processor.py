"""Prompts become tensors: the only place that tokenises, resizes and pads.

Shapes: B batch, S condition tokens, M images of all prompts in row-major order, R side of the vision tower's input, T tokens
of a query text.
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
from mentor.data.squares import shortened
from mentor.data.templates import image_queries
from mentor.prompt import IMAGE_PLACEHOLDER, Prompt


@dataclass
class PromptBatch:
    """``input_ids`` int64 [B, S] and ``attention_mask`` bool [B, S], right-padded; ``pixel_values`` float32 [M, 3, R, R].

    ``query_ids`` int64 [M, T] and ``query_mask`` bool [M, T], right-padded: what a Query-Former looks for in each image, None
    for other connectors.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pixel_values: Tensor
    query_ids: Tensor | None = None
    query_mask: Tensor | None = None

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same batch on another device."""
        return PromptBatch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.pixel_values.to(device),
            None if self.query_ids is None else self.query_ids.to(device),
            None if self.query_mask is None else self.query_mask.to(device),
        )


class Processor:
    """Prompts -> ``PromptBatch``, for one model's configuration and tokenizers.

    ``tokenizer`` must know ``<image>`` as the token ``config.language.image_token_id`` where the model reads images, and a
    Query-Former needs its own ``query_tokenizer``; ValueError otherwise.
    """

    def __init__(self, config: MentorConfig, tokenizer: Tokenizer, query_tokenizer: Tokenizer | None = None) -> None:
        known = tokenizer.token_to_id(IMAGE_PLACEHOLDER)
        if config.vision is not None and known != config.language.image_token_id:
            raise ValueError(
                f"the text tokenizer's id of {IMAGE_PLACEHOLDER} is {known}, the configuration's image_token_id is "
                f"{config.language.image_token_id}: tokenizer.json and config.json do not belong together"
            )
        self.config = config
        self.tokenizer = _whole_texts(tokenizer)
        self.query_tokenizer: Tokenizer | None = None
        if config.connector is not None and config.connector.kind == "query_former":
            if query_tokenizer is None:
                raise ValueError(
                    f"the model {config.name} has a Query-Former, which needs a tokenizer for what to look for in an image"
                )
            size, room = query_tokenizer.get_vocab_size(), config.connector.vocab_size
            if size > room:
                raise ValueError(
                    f"the Query-Former's tokenizer has {size} words, the configuration's connector.vocab_size is {room}: "
                    "query_tokenizer.json and config.json do not belong together"
                )
            self.query_tokenizer = _whole_texts(query_tokenizer)

    def __call__(self, prompts: Sequence[Prompt]) -> PromptBatch:
        """At least one prompt -> right-padded tensors; ValueError for a prompt longer than the model's context."""
        if not prompts:
            raise ValueError("expected at least one prompt, got none")
        input_ids, attention_mask = self.pad([self.encode_text(prompt.text) for prompt in prompts])
        return PromptBatch(
            input_ids,
            attention_mask,
            self.stack([self.pixels(image) for prompt in prompts for image in prompt.images]),
            *self.pad_queries([ids for prompt in prompts for ids in self.encode_queries(prompt)]),
        )

    def check(self, prompt: Prompt) -> None:
        """Raises the ValueError that reading the prompt would raise, without touching its images."""
        self.encode_text(prompt.text)
        self.encode_queries(prompt)

    def encode_text(self, text: str) -> list[int]:
        """A prompt's text -> ids, every ``<image>`` as ``tokens_per_image`` placeholders; ValueError if beyond the context."""
        images, repeat = text.count(IMAGE_PLACEHOLDER), self.config.tokens_per_image
        if images and self.config.vision is None:
            raise ValueError(
                f"the model {self.config.name} reads text only, but the prompt has {images} image(s): leave them out"
            )
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
        return _pad(input_ids, self.config.language.pad_token_id)

    def encode_queries(self, prompt: Prompt) -> list[list[int]]:
        """What to look for in each of a prompt's images -> ids of each; without a Query-Former an empty list.

        ValueError for a query longer than the Query-Former's positions.
        """
        connector = self.config.connector
        if connector is None or self.query_tokenizer is None:
            return []
        queries = list(prompt.queries) or image_queries(prompt.text)
        encoded = [self.query_tokenizer.encode(query).ids for query in queries]
        for query, ids in zip(queries, encoded, strict=True):
            if len(ids) > connector.max_positions:
                raise ValueError(
                    f"what to look for in an image has {len(ids)} tokens, the Query-Former takes at most "
                    f"{connector.max_positions}; it starts {query[:40]!r}: give a few words in Prompt.queries"
                )
        return encoded

    def pad_queries(self, query_ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Ids of M queries -> right-padded int64 [M, T] and mask bool [M, T]; (None, None) without a Query-Former."""
        if self.query_tokenizer is None:
            return None, None
        return _pad(query_ids, 0)

    def pixels(self, image: Image.Image) -> Tensor:
        """A picture of any size and mode -> float32 [3, R, R], normalised with the tower's mean and std."""
        vision = self.config.vision
        assert vision is not None, "a model that reads text only has no pictures to prepare"
        scaled = torch.from_numpy(np.asarray(self.square(image), np.float32) / 255)
        mean, std = (
            torch.tensor(values, dtype=scaled.dtype, device=scaled.device) for values in (vision.mean, vision.std)
        )
        normalised = (scaled - mean) / std
        return normalised.permute(2, 0, 1).contiguous()

    def square(self, image: Image.Image) -> Image.Image:
        """A picture of any size and mode as the vision tower sees it, RGB, R x R: all of it that ``pixels`` looks at."""
        vision = self.config.vision
        assert vision is not None, "a model that reads text only has no pictures to prepare"
        fit = fit_square if vision.fit == "pad" else crop_square
        return fit(to_rgb(image), vision.image_size)

    def stack(self, pixels: Sequence[Tensor]) -> Tensor:
        """What ``pixels`` made of M pictures -> float32 [M, 3, R, R]; M may be 0."""
        side = self.config.vision.image_size if self.config.vision else 0
        return torch.stack(list(pixels)) if pixels else torch.zeros(0, 3, side, side, dtype=torch.float32)


def _whole_texts(tokenizer: Tokenizer) -> Tokenizer:
    """A copy of a tokenizer that encodes every text as text, whole and alone, whatever its file says."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    own.no_truncation()
    # A "[SEP]" or "</s>" that a person types is text; only the template may add the real ones.
    own.encode_special_tokens = True
    return own


def _pad(sequences: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(ids) for ids in sequences], dtype=torch.int64)
    padded = torch.full((len(sequences), int(lengths.max()) if len(sequences) else 0), pad)
    for row, ids in enumerate(sequences):
        padded[row, : len(ids)] = torch.tensor(ids)
    return padded, torch.arange(padded.shape[1]) < lengths.unsqueeze(1)


def fit_square(image: Image.Image, side: int) -> Image.Image:
    """The whole picture, bicubically scaled until its longer side is ``side`` pixels, centred on a white square."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square = Image.new("RGB", (side, side), "white")
    square.paste(image.resize(size, Image.Resampling.BICUBIC), ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def crop_square(image: Image.Image, side: int) -> Image.Image:
    """The centre of the picture, bicubically scaled until its shorter side is ``side`` pixels (CLIP's preprocessing)."""
    image = shortened(image)
    shorter = min(image.size)
    size = (int(side * image.width / shorter), int(side * image.height / shorter))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return image.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
