"""The trainings that ``training.py`` compares: ours, packed or padded, and ``transformers.Trainer``, on the same samples."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from mentor.config.load import from_dict
from mentor.config.model import DecoderConfig
from mentor.config.run import TrainConfig
from mentor.models.decoder import Decoder, mlp_width
from mentor.training.precision import computes_bf16
from mentor.training.protocol import Objective
from mentor.training.trainer import Trainer

Times = list[float]  # wall and processor seconds
PADDED_PROMPT = 512
DTYPES = {name: torch.bfloat16 if computes_bf16(name) else torch.float32 for name in ("cpu", "cuda")}
SHORTEST, LONGEST = 60, 300
_POOL = 400


class Samples:
    """Prompts and images of random tokens: sample i is the same for every system."""

    def __init__(self, config: DecoderConfig, batch_size: int, *, by_length: bool = False) -> None:
        self.config, self.batch_size, self.by_length = config, batch_size, by_length
        self.lengths = np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, size=10_000)
        if by_length:  # neighbours of similar length, as the padded feed has them
            self.lengths = np.sort(self.lengths.reshape(-1, _POOL), axis=1).reshape(-1)

    def sample(self, index: int) -> tuple[Tensor, Tensor]:
        """Prompt int64 [S] and image int64 [L]."""
        generator = torch.Generator().manual_seed(index)
        length = int(self.lengths[index % len(self.lengths)])
        both = torch.randint(self.config.vocab_size, (length + self.config.num_tokens,), generator=generator)
        return both[:length], both[length:]

    def batch(self, index: int, share: Any = None) -> dict[str, Any]:
        """Prompts right-padded int64 [B, S], their lengths and images int64 [B, L]."""
        first = index * self.batch_size
        if self.by_length:  # a batch of every kind of length, evenly spread
            first = index * _POOL + int(index * 0.618034 % 1 * (_POOL // self.batch_size)) * self.batch_size
        pairs = [self.sample(first + number) for number in range(self.batch_size)]
        prompts = nn.utils.rnn.pad_sequence([prompt for prompt, _ in pairs], batch_first=True)
        return {
            "prompts": prompts,
            "lengths": [len(prompt) for prompt, _ in pairs],
            "tokens": torch.stack([image for _, image in pairs]),
        }


class Enough(Exception):
    """Ends a training that was measured, before it writes gigabytes of a checkpoint."""


class BareDecoder(Objective):
    """The decoder alone, its prefix looked up in its own embedding; notes when each step begins, and ends after ``steps``."""

    def __init__(self, config: DecoderConfig, steps: int, device: str, *, packed: bool, whole_logits: bool) -> None:
        torch.manual_seed(0)
        with torch.device(device):
            self.module = nn.ModuleDict({"decoder": Decoder(config)})
        self.steps, self.packed, self.whole_logits = steps, packed, whole_logits
        self.began: list[tuple[float, float]] = []

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        self.began.append(now(batch["tokens"].device))
        if len(self.began) > self.steps:
            raise Enough
        decoder, prompts, tokens = self.module["decoder"], batch["prompts"], batch["tokens"]
        lengths = torch.tensor(batch["lengths"], device=prompts.device)
        targets = None if self.whole_logits else tokens
        if self.packed:
            real = torch.arange(prompts.shape[1], device=prompts.device) < lengths[:, None]
            embedded = decoder.tok_embeddings(prompts[real])
            found = decoder.forward_packed(embedded, batch["lengths"], tokens[:, :-1], targets)
        else:
            mask = torch.arange(prompts.shape[1], device=prompts.device) >= prompts.shape[1] - lengths[:, None]
            found = decoder(decoder.tok_embeddings(prompts), mask, tokens[:, :-1], targets)
        return F.cross_entropy(found.flatten(0, 1), tokens.flatten()) if self.whole_logits else found.mean(), {}


def now(device: torch.device) -> tuple[float, float]:
    """Wall and processor time in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def ours(
    config: DecoderConfig,
    samples: Samples,
    steps: int,
    device: str,
    *,
    packed: bool,
    compiled: bool = False,
    whole_logits: bool = False,
) -> Callable[[], list[Times]]:
    """A function that trains ``steps`` steps and returns how long each took."""
    recipe = from_dict(
        TrainConfig,
        {
            "name": "benchmark",
            "objective": "mentor",
            "precision": "bf16_pure",
            "compile": compiled,
            "data": {"batch_size": samples.batch_size},
            "schedule": {"steps": steps + 2},
            "logging": {"every": 0, "evaluate_every": 0, "grid_every": 0, "trackers": []},
            "checkpointing": {"every": 10_000},
        },
    )

    def train() -> list[float]:
        objective = BareDecoder(config, steps, device, packed=packed, whole_logits=whole_logits)
        with tempfile.TemporaryDirectory() as folder, suppress(Enough):
            Trainer(recipe, objective, samples, device=device).run(Path(folder) / "run")
        return np.diff(objective.began, axis=0).tolist()

    return train


def theirs(config: DecoderConfig, samples: Samples, steps: int, device: str) -> Callable[[], list[Times]]:
    """The same for ``transformers.Trainer`` and ``LlamaForCausalLM``, prompts padded on the left to 512 tokens."""

    class Padded(torch.utils.data.Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return (steps + 1) * samples.batch_size

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            prompt, image = samples.sample(index)
            empty = PADDED_PROMPT - len(prompt)
            ids = torch.cat([torch.zeros(empty, dtype=torch.int64), prompt, image])
            return {
                "input_ids": ids,
                "attention_mask": (torch.arange(len(ids)) >= empty).long(),
                "labels": ids.masked_fill(torch.arange(len(ids)) < PADDED_PROMPT, -100),
            }

    class Clock(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.ended: list[tuple[float, float]] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ended.append(now(torch.device(device)))

    shape = transformers.LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        intermediate_size=mlp_width(config),
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        max_position_embeddings=PADDED_PROMPT + config.num_tokens,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        use_cache=False,
    )

    def train() -> list[float]:
        torch.manual_seed(0)
        model, clock = transformers.LlamaForCausalLM(shape), Clock()
        with torch.device("meta"):
            expected = sum(p.numel() for p in Decoder(config).parameters())
        assert sum(p.numel() for p in model.parameters()) == expected
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                max_steps=steps + 1,
                per_device_train_batch_size=samples.batch_size,
                bf16=DTYPES[device] == torch.bfloat16,
                use_cpu=device == "cpu",
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            )
            transformers.Trainer(model, arguments, train_dataset=Padded(), callbacks=[clock]).train()
        return np.diff(clock.ended, axis=0).tolist()

    return train
