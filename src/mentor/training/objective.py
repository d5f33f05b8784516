"""MENTOR's objective: cross-entropy of the image tokens under the prompt (paper 2.3), and what shows that it works.

Shape letters: B batch, S condition tokens, L image tokens, V codebook.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from mentor.checkpoint.store import Bundle
from mentor.config.sections import MentorObjectiveConfig
from mentor.data.pixels import pixel_grid, to_pixels
from mentor.data.processor import Processor
from mentor.data.shards import Row
from mentor.models.mentor import Mentor
from mentor.training.conditions import CONDITIONS, under
from mentor.training.feed import collate
from mentor.training.optim import Group, default_groups
from mentor.training.protocol import Batch, Objective, to_device

TokenSampler = Callable[[Mentor, Tensor, Tensor], Tensor]
"""Left-padded condition states [B, S, De] and mask [B, S] -> image tokens int64 [B, L]."""

_GRID_COLUMNS = 12
LOGITS = 2**27
"""So many logits at most are computed at once in an evaluation: half a gigabyte in float32."""


class Rows(Protocol):
    """Samples by number: ``PrecomputedDataset``, or made on the spot."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


class MentorObjective(Objective):
    """Mean cross-entropy of all image tokens; a share of the prompts is replaced by the null condition.

    With ``packing`` no padding is computed. ``held_out`` gives the evaluation; ``sampler`` draws the pictures of the sample
    grids (none without it); ``train_counts`` (task -> samples) and ``notes`` are only told; ``card`` goes into the exported
    model's card.
    """

    module: Mentor
    frozen_stay = True

    def __init__(
        self,
        bundle: Bundle,
        processor: Processor,
        config: MentorObjectiveConfig,
        held_out: Rows,
        *,
        batch_size: int = 64,
        packing: bool = False,
        sampler: TokenSampler | None = None,
        train_counts: dict[str, int] | None = None,
        notes: Sequence[str] = (),
        card: str | None = None,
    ) -> None:
        self.module, self.bundle, self.processor = bundle.mentor, bundle, processor
        self.config, self.batch_size, self.packing, self.sampler = config, batch_size, packing, sampler
        self.train_counts, self.notes = train_counts or {}, list(notes)
        self.card = card
        self._held_out = held_out

    @cached_property
    def rows(self) -> list[Row]:
        """The samples of the evaluation; made when they are first asked for, which may need the models on their device."""
        return [self._held_out[i] for i in range(min(self.config.evaluation_samples, len(self._held_out)))]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        # The feed draws the chances: the same prompts are dropped on every device and number of processes.
        batch = self.encoded(batch)
        return self.token_losses(batch, batch["chances"] < self.config.condition_dropout).mean(), {}

    @torch.no_grad()
    def encoded(self, batch: Batch) -> Batch:
        """A batch with the frozen networks' part: features and tokens, of what a ``LiveFeed`` gave as pictures."""
        if "pixels" not in batch:
            return batch
        pixels = to_pixels(batch["pixels"])
        image_tokenizer = self.bundle.image_tokenizer.to(pixels.device)
        with torch.autocast(pixels.device.type, enabled=False):
            # As shards hold them, so that both ways of training are the same.
            features = self.module.encoder.encode_images(batch["references"]).half()
            return batch | {"tokens": image_tokenizer.encode(pixels), "features": features}

    def token_losses(self, batch: Batch, drop: Tensor | None = None) -> Tensor:
        """Cross-entropy in nats of every image token, float32 [B, L]; ``drop`` bool [B] marks null conditions."""
        tokens = batch["tokens"]
        lengths = batch["lengths"] if self.packing else None
        return self.module(**_prompts(batch), tokens=tokens, drop=drop, lengths=lengths, losses=True)

    def weight(self, batch: Batch) -> float:
        return float(len(batch["tasks"]) * self.module.config.decoder.num_tokens)

    def parameter_groups(self, trainable: dict[str, nn.Parameter]) -> list[Group]:
        return default_groups(self.module, trainable, not_hidden=("decoder.output",))

    def describe(self) -> list[str]:
        counts = ", ".join(f"{task} {count:,}" for task, count in self.train_counts.items())
        return [f"samples by task: {counts}", *self.notes]

    def evaluate(self) -> dict[str, float]:
        """Held-out losses in nats, each averaged over tokens.

        ``nll`` is over all tokens; ``object_nll/CONDITION`` and ``object_nll/TASK/CONDITION`` over the tokens that show
        what the prompt asks for, under the conditions of ``conditions.under``. A model that ignores a part of the
        prompt shows no gap between ``right`` and the wrong one.
        """
        metrics = {}
        for condition in CONDITIONS:
            pairs = under(condition, self.rows)
            losses = self._held_out_losses([row for _, row in pairs], dropped=condition == "null")
            masks = torch.stack([row.object_mask for _, row in pairs]) if pairs else torch.zeros(0, 1, dtype=torch.bool)
            if condition == "right":
                metrics["nll"] = float(losses.mean())
            metrics[f"object_nll/{condition}"] = float(losses[masks].mean())
            for task in sorted({row.task for _, row in pairs}):
                chosen = torch.tensor([row.task == task for _, row in pairs])
                metrics[f"object_nll/{task}/{condition}"] = float(losses[chosen][masks[chosen]].mean())
        return {name: value for name, value in metrics.items() if math.isfinite(value)}

    def sample_grid(self) -> Image.Image | None:
        """Held-out pictures as the image tokenizer shows them above, and generated from their prompts below."""
        if self.sampler is None or not self.rows:
            return None
        batch = self._batch(self.rows[:_GRID_COLUMNS])
        states, mask = self.module.condition(**_prompts(batch))
        tokens = torch.cat([batch["tokens"], self.sampler(self.module, states, mask)])
        image_tokenizer = self.bundle.image_tokenizer.to(tokens.device)
        with torch.autocast(tokens.device.type, enabled=False):
            pixels = image_tokenizer.decode(tokens).unflatten(0, (2, -1))
        return pixel_grid(pixels)

    def export(self, folder: Path) -> None:
        """Writes the whole model as a bundle that ``MentorPipeline.from_pretrained`` loads."""
        self.bundle.save_with(self.module, folder, card=self.card)

    def _held_out_losses(self, rows: Sequence[Row], *, dropped: bool) -> Tensor:
        """float32 [rows, L] on the CPU."""
        if not rows:
            return torch.zeros(0, 1)
        # One process measures alone: the batch of all of them may be too much for it.
        decoder = self.module.config.decoder
        size = max(1, min(self.batch_size, LOGITS // (decoder.num_tokens * decoder.vocab_size)))
        chunks = [self._batch(rows[i : i + size]) for i in range(0, len(rows), size)]
        drops = [torch.full(chunk["tokens"].shape[:1], dropped, device=chunk["tokens"].device) for chunk in chunks]
        return torch.cat([self.token_losses(c, d).cpu() for c, d in zip(chunks, drops, strict=True)])

    def _batch(self, rows: Sequence[Row]) -> Batch:
        device = self.module.null_condition.device
        # The evaluation runs under autocast, which on a CPU cannot join float16 features.
        with torch.autocast("cpu", enabled=False):
            batch = collate(rows, self.processor, 8)
        return to_device(batch, device)


def _prompts(batch: Batch) -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask", "features", "query_ids", "query_mask")
    return {name: batch[name] for name in names if name in batch}
