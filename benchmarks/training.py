"""How fast the decoder trains: our packed steps against ``transformers.Trainer``, against padding, against the hardware.

    python benchmarks/training.py [--json] [--width 512 --layers 6 --heads 8] [--steps 6] [--threads 2] [--device cpu]
    python benchmarks/training.py --json --preset xl --device cuda --systems packed,packed_compiled,padded   # on a GPU

All systems train the same decoder shape in bfloat16 on the same samples: 256 image tokens (``--grid 16``) after a prompt of 60
to 300 tokens. A processor without bfloat16 arithmetic computes in float32, the products that set the scale too (``dtype``).

- ``ratio_vs_hf_trainer``: samples a second, packed, by those of ``transformers.Trainer`` on ``LlamaForCausalLM``, every prompt
  padded to 512 tokens as the released code does.
- ``packing_gain``: packed against our own padded batches of the same samples; ``packing_gain_sorted`` where a batch holds
  prompts of similar length.
- ``compile_gain``: packed with ``compile: true`` against without.
- ``fraction_of_matmul``: the useful part of the arithmetic (no padding, no keys in the future) a second, by what large bfloat16
  products reach in the same run.
- ``loader_ratio``: samples a second that one process reads and composes from picture files, by what the packed step eats.

A step is what ``mentor train`` does: forward, backward, clipping, AdamW on float32 masters. The systems take turns within one
process and medians over turns are compared, because a machine's speed changes more from minute to minute than they differ. On
a busy machine trust the ``cpu_`` figures, of processor time, with ``--threads 1``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from mentor.config.load import from_dict
from mentor.config.model import DecoderConfig
from mentor.config.presets import PRESETS
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


class BareDecoder(Objective):
    """The decoder alone, its prefix looked up in its own embedding; notes when each step begins."""

    def __init__(self, config: DecoderConfig, *, packed: bool) -> None:
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"decoder": Decoder(config)})
        self.packed = packed
        self.began: list[tuple[float, float]] = []

    def loss(self, batch: dict[str, Any], step: int) -> tuple[Tensor, dict[str, float | Tensor]]:
        self.began.append(now(batch["tokens"].device))
        decoder, prompts, tokens = self.module["decoder"], batch["prompts"], batch["tokens"]
        lengths = torch.tensor(batch["lengths"], device=prompts.device)
        if self.packed:
            real = torch.arange(prompts.shape[1], device=prompts.device) < lengths[:, None]
            logits = decoder.forward_packed(decoder.tok_embeddings(prompts[real]), batch["lengths"], tokens[:, :-1])
        else:
            mask = torch.arange(prompts.shape[1], device=prompts.device) >= prompts.shape[1] - lengths[:, None]
            logits = decoder(decoder.tok_embeddings(prompts), mask, tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens.flatten()), {}


def now(device: torch.device) -> tuple[float, float]:
    """Wall and processor time in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def ours(
    config: DecoderConfig, samples: Samples, steps: int, device: str, *, packed: bool, compiled: bool = False
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
            "schedule": {"steps": steps + 1},
            "logging": {"every": 0, "evaluate_every": 0, "grid_every": 0, "trackers": []},
            "checkpointing": {"every": 10_000},
        },
    )

    def train() -> list[float]:
        objective = BareDecoder(config, packed=packed)
        with tempfile.TemporaryDirectory() as folder:
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
        assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in Decoder(config).parameters())
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


def useful_work(config: DecoderConfig, samples: Samples, steps: int) -> float:
    """Floating-point operations of an average step, forward and backward, that padding and masked keys have no part in."""
    blocks = sum(p.numel() for layer in Decoder(config).layers for p in layer.parameters() if p.dim() == 2)
    head, total = config.width * config.vocab_size, 0
    for index in range(1, steps + 1):
        for length in samples.batch(index)["lengths"]:
            positions = length + config.num_tokens - 1
            attention = 2 * positions * (positions + 1) * config.width * config.num_layers
            total += 6 * (blocks * positions + head * config.num_tokens) + 3 * attention
    return total / steps


def matmul_rate(device: str, seconds: float = 2.0) -> float:
    """Floating-point operations a second of the best of several large products."""
    best = 0.0
    for side in (1024, 2048) if device == "cpu" else (4096, 8192):
        a, b = (torch.randn(side, side, device=device, dtype=DTYPES[device]) for _ in range(2))
        end, where = time.perf_counter() + seconds, torch.device(device)
        while time.perf_counter() < end:
            start = now(where)[0]
            torch.mm(a, b)
            best = max(best, 2 * side**3 / (now(where)[0] - start))
    return best


def loader_rate(size: int, samples: int = 64) -> float:
    """Samples a second that one process makes of picture files in the released format, targets of ``size`` pixels."""
    from PIL import Image

    from mentor.config.sources import SourceConfig
    from mentor.data.rejects import Rejects
    from mentor.data.source_mixture import SourceMixture
    from mentor.data.sources import open_source

    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        for number in range(16):
            coarse = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
            coarse.resize((512, 512), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
        records = [
            {
                "image_path": f"{i}.jpg",
                "source_image": f"{(i + 1) % 16}.jpg",
                "input_text": "a subject",
                "objects": "subject",
            }
            for i in range(16)
        ]
        file = folder / "train.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        source = open_source(SourceConfig("released", path=str(file)), split="train", size=size, seed=0)
        mixture = SourceMixture([source], [1.0], split="train", seed=0, rejects=Rejects(0.0))
        mixture.sample(0)
        start = time.perf_counter()
        for index in range(samples):
            mixture.sample(index)
        return samples / (time.perf_counter() - start)


def mean_step(turns: list[list[Times]], place: int) -> float:
    """Seconds of an average step: the median over the turns of each, whose samples are always the same, then their mean."""
    return statistics.mean(statistics.median(times[place] for times in step) for step in zip(*turns, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--preset", choices=PRESETS, help="the shape of a model's decoder, in place of the five numbers"
    )
    parser.add_argument("--systems", default="", metavar="A,B", help="measure these only, for example packed,padded")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--grid", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6, help="measured steps of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    config = DecoderConfig(
        width=arguments.width,
        num_layers=arguments.layers,
        num_heads=arguments.heads,
        vocab_size=arguments.vocab,
        grid=arguments.grid,
    )
    if arguments.preset:
        config = PRESETS[arguments.preset].decoder
    mixed = Samples(config, arguments.batch)
    alike = Samples(config, arguments.batch, by_length=True)
    systems = {
        "packed": ours(config, mixed, arguments.steps, arguments.device, packed=True),
        # Compiled in the first turn, which the median leaves out.
        "packed_compiled": ours(config, mixed, arguments.steps, arguments.device, packed=True, compiled=True),
        "padded": ours(config, mixed, arguments.steps, arguments.device, packed=False),
        "packed_sorted": ours(config, alike, arguments.steps, arguments.device, packed=True),
        "padded_sorted": ours(config, alike, arguments.steps, arguments.device, packed=False),
        "hf_trainer": theirs(config, mixed, arguments.steps, arguments.device),
    }
    if arguments.systems:
        systems = {name: systems[name] for name in arguments.systems.split(",")}
    assert "packed" in systems, "all ratios are those of the packed steps"
    seconds: dict[str, list[list[Times]]] = {name: [] for name in systems}
    rates = [matmul_rate(arguments.device)]
    for _ in range(arguments.turns):
        for name, train in systems.items():
            with redirect_stdout(sys.stderr):  # trainers talk
                seconds[name].append(train())
        rates.append(matmul_rate(arguments.device))
    loader, rate = loader_rate(config.grid * 8), statistics.median(rates)
    work = useful_work(config, mixed, arguments.steps)
    report: dict[str, Any] = {}
    for place, prefix in enumerate(("", "cpu_") if arguments.device == "cpu" else ("",)):
        step = {name: mean_step(turns, place) for name, turns in seconds.items()}
        samples_s = {name: arguments.batch / value for name, value in step.items()}
        ratios = {
            "ratio_vs_hf_trainer": ("packed", "hf_trainer"),
            "compile_gain": ("packed_compiled", "packed"),
            "packing_gain": ("packed", "padded"),
            "packing_gain_sorted": ("packed_sorted", "padded_sorted"),
        }
        report |= {
            prefix + name: samples_s[one] / samples_s[other]
            for name, (one, other) in ratios.items()
            if {one, other} <= set(samples_s)
        }
        report |= {
            # Processor time of several threads adds up, and so does what they could do.
            f"{prefix}fraction_of_matmul": work / step["packed"] / rate * (arguments.threads if prefix else 1),
            f"{prefix}samples_per_second": samples_s,
        }
    report |= {
        "loader_ratio": loader / report["samples_per_second"]["packed"],
        "matmul_gflops": rate / 1e9,
        "loader_samples_per_second": loader,
        "shape": vars(config) | {"batch": arguments.batch, "threads": arguments.threads, "device": arguments.device},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "machine": torch.cuda.get_device_name()
        if arguments.device == "cuda"
        else platform.processor() or platform.machine(),
        "dtype": str(DTYPES[arguments.device]).removeprefix("torch."),
        "date": date.today().isoformat(),
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        print(f"{name:24} {value:.3g}" if isinstance(value, float) else f"{name:24} {value}")


if __name__ == "__main__":
    main()
