"""Stage 0's objective (paper B.1, LLaVA's alignment): a frozen language model answers from what the connector hands it.

Shape letters: B batch, S condition tokens, A tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentor.checkpoint.networks import load_network
from mentor.checkpoint.store import Bundle
from mentor.models.mentor import Mentor
from mentor.training.live_feed import IGNORED
from mentor.training.optim import Group, default_groups
from mentor.training.protocol import Batch, Objective, to_device


class CaptionObjective(Objective):
    """Mean cross-entropy of the answers' tokens under ``answerer``, a T5 that reads with the model's own encoder.

    ``held_out`` are batches with answers, see ``LiveFeed``. Raises ValueError unless the answerer's width is the encoder's.
    """

    module: Mentor
    frozen_stay = True
    shardable = False  # it calls the encoder inside the module, and trains little

    def __init__(
        self, bundle: Bundle, answerer: nn.Module, held_out: Sequence[Batch] = (), *, card: str | None = None
    ) -> None:
        self.module, self.bundle, self.card, self.held_out = bundle.mentor, bundle, card, held_out
        settings: Any = answerer.config
        width, wanted = settings.d_model, bundle.config.language.width
        if width != wanted:
            raise ValueError(f"init.answerer: its states are {width} wide, the model's encoder's {wanted}")
        # Frozen and no part of the module: it is neither trained nor saved, and its dropout is off.
        self.answerer = answerer.requires_grad_(False).eval()
        self.frozen = (self.answerer,)
        self.start, self.pad = int(settings.decoder_start_token_id), int(settings.pad_token_id)

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        from transformers.modeling_outputs import BaseModelOutput

        encoder, answers = self.module.encoder, batch["answers"]
        features = encoder.encode_images(batch["references"])
        queries = {name: batch[name] for name in ("query_ids", "query_mask") if name in batch}
        states = encoder(batch["input_ids"], batch["attention_mask"], features, **queries)
        answerer = self.answerer.to(states.device)
        output = answerer(
            encoder_outputs=BaseModelOutput(last_hidden_state=states.to(next(answerer.parameters()).dtype)),
            attention_mask=batch["attention_mask"],
            decoder_input_ids=_shifted(answers, self.start, self.pad),
            use_cache=False,
        )
        return F.cross_entropy(output.logits.flatten(0, 1).float(), answers.flatten(), ignore_index=IGNORED), {}

    def weight(self, batch: Batch) -> float:
        return float((batch["answers"] != IGNORED).sum())

    def parameter_groups(self, trainable: dict[str, nn.Parameter]) -> list[Group]:
        return default_groups(self.module, trainable)

    def evaluate(self) -> dict[str, float]:
        """``nll``: held-out loss in nats a token."""
        if not self.held_out:
            return {}
        device = self.module.null_condition.device
        sizes = [self.weight(batch) for batch in self.held_out]
        losses = [float(self.loss(to_device(batch, device), 0)[0]) for batch in self.held_out]
        return {"nll": sum(size * loss for size, loss in zip(sizes, losses, strict=True)) / sum(sizes)}

    def export(self, folder: Path) -> None:
        """Writes the whole model as a bundle: the next stage takes its connector."""
        self.bundle.save_with(self.module, folder, card=self.card)


def load_answerer(folder: str) -> nn.Module:
    """The whole T5 of a folder or of the hub. Raises ValueError if it cannot be read."""
    from transformers import T5ForConditionalGeneration

    model: nn.Module = load_network(T5ForConditionalGeneration, "init.answerer: T5", folder, dtype="auto")
    return model


def _shifted(answers: Tensor, start: int, pad: int) -> Tensor:
    """What the decoder reads to predict ``answers`` int64 [B, A]: one token later, padding as it knows it."""
    first = torch.full_like(answers[:, :1], start)
    return torch.cat([first, answers[:, :-1].masked_fill(answers[:, :-1] == IGNORED, pad)], dim=1)
