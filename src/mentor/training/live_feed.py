"""Batches of samples that are read and composed while training; what needs a model is left to the device.

Shape letters: B batch, R side of a picture, M images of all prompts, R' side of the vision tower's input, L image tokens,
A tokens of an answer.
"""

from __future__ import annotations

import numpy as np
import torch

from mentor.checkpoint.store import Bundle
from mentor.data.precompute import Encoders, encode
from mentor.data.prepared import prepare
from mentor.data.processor import Processor
from mentor.data.shards import Row
from mentor.data.source_mixture import SourceMixture
from mentor.training.feed import collate_prompts
from mentor.training.protocol import WHOLE, Batch, Share

IGNORED = -100
"""Padding of answers; PyTorch's cross-entropy leaves it out."""


class LiveFeed:
    """Batch i holds samples i x B to (i + 1) x B - 1 of the mixture."""

    def __init__(
        self, samples: SourceMixture, processor: Processor, *, batch_size: int, length_multiple: int, seed: int
    ) -> None:
        self.samples, self.processor = samples, processor
        self.batch_size, self.length_multiple, self.seed = batch_size, length_multiple, seed
        self.data = samples.held

    def batch(self, index: int, share: Share = WHOLE) -> Batch:
        """This process's share of batch ``index``: prompts as in ``collate``; pixels uint8 [B, R, R, 3], references float32
        [M, 3, R', R'], object_mask bool [B, L], tasks [B] names, chances float32 [B], skipped (how many records were broken
        on the way), and where samples have answers answers int64 [B, A], padded with ``IGNORED``.
        """
        numbers = range(index * self.batch_size, (index + 1) * self.batch_size)[share.part]
        before = self.samples.rejects.rejected
        drawn = [prepare(self.samples.sample(number), self.processor) for number in numbers]
        chances = np.random.default_rng([self.seed, index, 1]).random(self.batch_size, dtype=np.float32)
        ids, queries = [sample.ids for sample in drawn], [query for sample in drawn for query in sample.queries]
        batch = collate_prompts(ids, queries, self.processor, self.length_multiple) | {
            "pixels": torch.from_numpy(np.stack([sample.target for sample in drawn])),
            "references": self.processor.stack(
                [torch.from_numpy(each) for sample in drawn for each in sample.references]
            ),
            "object_mask": torch.from_numpy(np.stack([sample.object_mask for sample in drawn])),
            "tasks": [sample.task for sample in drawn],
            "chances": torch.from_numpy(chances[share.part].copy()),
            "skipped": self.samples.rejects.rejected - before,
        }
        if any(sample.answer for sample in drawn):
            answers = [torch.tensor(self.processor.tokenizer.encode(sample.answer).ids) for sample in drawn]
            batch["answers"] = torch.nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=IGNORED)
        return batch


class LiveRows:
    """``count`` samples with what the frozen networks make of them, each made when it is asked for."""

    def __init__(self, samples: SourceMixture, count: int, bundle: Bundle, processor: Processor) -> None:
        self.samples, self.count, self.bundle, self.processor = samples, count, bundle, processor

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        device = self.bundle.mentor.null_condition.device
        image_tokenizer, encoder = self.bundle.image_tokenizer.to(device), self.bundle.mentor.encoder
        encoders = Encoders.of(image_tokenizer, encoder, self.processor, device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            return encode([prepare(self.samples.sample(index), self.processor)], encoders)[0]
