"""From a prompt to pictures: check the inputs, encode, generate, decode. Each step can be called alone.

Shapes: B pictures in a batch, S condition tokens, L image tokens, De width of the language encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mentor.config.sampling import LARGEST_SEED, GenerationSettings, whole_number
from mentor.data.pixels import to_levels
from mentor.generation.decode import generate_tokens
from mentor.generation.pretrained import PretrainedModel
from mentor.generation.prompting import Picture, build_prompt
from mentor.prompt import Prompt


@dataclass(frozen=True)
class PipelineOutput:
    """What a call made: ``pipeline(prompts[i], seed=seeds[i], **asdict(settings))`` makes picture ``i`` again, alone.

    On the same kind of device (cpu, cuda, mps): the same seed is another picture on another one.
    """

    images: list[Image.Image]
    """All pictures of the first prompt, then all of the second, ..."""
    seeds: list[int]
    prompts: list[Prompt]
    """One for each picture."""
    settings: GenerationSettings


@dataclass(frozen=True)
class Condition:
    """Encoded prompts, left-padded."""

    states: Tensor
    """[B, S, De]"""
    mask: Tensor
    """bool [B, S], true where a token stands."""

    def rows(self, index: Sequence[int]) -> Condition:
        """The conditions at ``index``, in its order; an index may come up more than once."""
        return Condition(self.states[list(index)], self.mask[list(index)])


class MentorPipeline(PretrainedModel):
    """Text and reference images to pictures: ``MentorPipeline.from_pretrained("mini")("a red fox").images[0]``."""

    def __call__(
        self,
        prompt: str | Prompt | Sequence[str | Prompt],
        *,
        images: Sequence[Picture] | Picture | None = None,
        task: str | None = None,
        subject: str | Sequence[str] | None = None,
        num_images: int = 1,
        seed: int = 0,
        cfg_scale: float | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        cfg_interval: int | None = None,
        batch_size: int = 16,
        on_token: Callable[[int, int], None] | None = None,
    ) -> PipelineOutput:
        """Make ``num_images`` pictures of every prompt.

        Args:
            prompt: text, in which ``<image>`` marks where each of ``images`` goes; or finished prompts.
            images: reference images of a single text prompt, as Pillow images or files.
            task, subject: see ``build_prompt``.
            num_images: pictures of each prompt, 1 or more.
            seed: picture ``i`` of the whole call is drawn with ``seed + i``, whatever the batch around it. The same seed is
                another picture on another kind of device (cpu, cuda, mps).
            batch_size: pictures that are generated side by side; bounds the memory. A picture does not depend on those beside
                it, but sums are rounded in another order in batches of other sizes: in 16 bits that can change a token.
            cfg_scale, temperature, top_k, top_p, cfg_interval: see ``GenerationSettings``; None: the model's own
                (``config.generation``).
            on_token: called with (tokens done, tokens in all), a token being one step of a whole batch.

        Raises:
            ValueError: any of the above is missing, out of range, or does not fit the others.
        """
        settings = self.settings(
            cfg_scale=cfg_scale, temperature=temperature, top_k=top_k, top_p=top_p, cfg_interval=cfg_interval
        )
        prompts = self.check_inputs(prompt, images=images, task=task, subject=subject)
        num_images, batch_size = whole_number("num_images", num_images, 1), whole_number("batch_size", batch_size, 1)
        seed, total = whole_number("seed", seed), len(prompts) * num_images
        if not 0 <= seed <= LARGEST_SEED - total:
            raise ValueError(f"seed: expected a whole number from 0 to {LARGEST_SEED - total}, got {seed}")
        for each in prompts:
            self.processor.check(each)  # before the first batch is drawn, not after minutes
        owner = [index // num_images for index in range(total)]
        seeds = [seed + index for index in range(total)]
        pictures: list[Image.Image] = []
        for start in range(0, total, batch_size):
            part = slice(start, start + batch_size)
            first, last = owner[part][0], owner[part][-1]
            condition = self.encode(prompts[first : last + 1]).rows([index - first for index in owner[part]])
            report = over_batches(on_token, start // batch_size, -(-total // batch_size))
            codes = self.generate(condition, seeds[part], settings, on_token=report)
            pictures += self.decode(codes)
        return PipelineOutput(pictures, seeds, [prompts[index] for index in owner], settings)

    def settings(self, **given: Any) -> GenerationSettings:
        """The model's own sampling settings with those that are ``given`` (None: not given) in their place.

        Raises ``ValueError`` for a number out of range.
        """
        return replace(self.config.generation, **{name: value for name, value in given.items() if value is not None})

    def check_inputs(
        self,
        prompt: str | Prompt | Sequence[str | Prompt],
        *,
        images: Sequence[Picture] | Picture | None = None,
        task: str | None = None,
        subject: str | Sequence[str] | None = None,
    ) -> list[Prompt]:
        """Every accepted way to write prompts -> a list of them. Raises ``ValueError``, see ``__call__``."""
        if isinstance(prompt, str):
            return [build_prompt(prompt, images, task=task, subject=subject)]
        if images is not None or task is not None or subject is not None:
            raise ValueError(
                "images, task and subject go with one text; of several prompts make each with build_prompt(text, images)"
            )
        prompts = [prompt] if isinstance(prompt, Prompt) else list(prompt) if isinstance(prompt, Iterable) else [prompt]
        for each in prompts:
            if not isinstance(each, str | Prompt):
                raise ValueError(
                    f"prompt: expected texts or prompts (build_prompt(text, images) makes one), got {type(each).__name__}"
                )
        if not prompts:
            raise ValueError("expected at least one prompt, got an empty list")
        return [Prompt(each) if isinstance(each, str) else each for each in prompts]

    @torch.inference_mode()
    def encode(self, prompts: Sequence[Prompt]) -> Condition:
        """Prompts -> condition [B, S, De].

        Raises ``ValueError`` for a prompt longer than the model's context, and where numbers left the range of the dtype.
        """
        batch = self.processor(prompts).to(self.device)
        features = self.mentor.encoder.encode_images(batch.pixel_values)
        states, mask = self.mentor.condition(
            batch.input_ids, batch.attention_mask, features, batch.query_ids, batch.query_mask
        )
        if not states.isfinite().all():
            raise ValueError("the multimodal encoder's states are not finite; bfloat16 and float32 have a wider range")
        return Condition(states, mask)

    def generate(
        self,
        condition: Condition,
        seeds: Sequence[int],
        settings: GenerationSettings | None = None,
        *,
        on_token: Callable[[int, int], None] | None = None,
        on_row: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Condition [B, S, De] and one seed for each of its rows -> image tokens int64 [B, L].

        ``on_token`` is called with (tokens done, L) after every token, ``on_row`` with the tokens so far after every row of the
        picture (``decode`` shows them); what one of them raises ends the generation.
        """
        return generate_tokens(
            self.mentor,
            condition.states,
            condition.mask,
            settings or self.config.generation,
            generators=[torch.Generator(self.device).manual_seed(whole_number("seed", seed)) for seed in seeds],
            on_token=on_token,
            on_row=on_row,
        )

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> list[Image.Image]:
        """Image tokens int64 [B, n] -> B pictures, RGB, ``config.image_size`` pixels square; what n < L leaves out is grey."""
        codes = codes.to(self.device)
        missing = self.config.decoder.num_tokens - codes.shape[1]
        if missing > 0:
            codes = torch.cat((codes, self._grey().expand(len(codes), missing)), dim=1)
        return [Image.fromarray(each) for each in to_levels(self.image_tokenizer.decode(codes))]

    def _grey(self) -> Tensor:
        """The token of a grey patch, int64 [1, 1]."""
        weight, side = self.image_tokenizer.quant_conv.weight, self.config.image_tokenizer.downsample
        return self.image_tokenizer.encode(weight.new_zeros(1, 3, side, side))


def over_batches(
    on_token: Callable[[int, int], None] | None, batch: int, batches: int
) -> Callable[[int, int], None] | None:
    """``on_token`` as seen from batch number ``batch`` of ``batches`` equally long ones."""
    if on_token is None:
        return None
    return lambda done, total: on_token(batch * total + done, batches * total)
