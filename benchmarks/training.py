"""How fast the decoder trains: our packed steps against ``transformers.Trainer``, against padding, against the hardware.

    python benchmarks/training.py [--json] [--width 512 --layers 6 --heads 8] [--steps 6] [--threads 2] [--device cpu]
    python benchmarks/training.py --json --preset xl --device cuda --systems packed,packed_compiled,padded   # on a GPU

All systems train the same decoder shape in bfloat16 on the same samples: 256 image tokens (``--grid 16``) after a prompt of 60
to 300 tokens. A processor without bfloat16 arithmetic computes in float32, the products that set the scale too (``dtype``).

- ``ratio_vs_hf_trainer``: samples a second, packed, by those of ``transformers.Trainer`` on ``LlamaForCausalLM``, every prompt
  padded to 512 tokens as the released code does.
- ``packing_gain``: packed against our own padded batches of the same samples; ``packing_gain_sorted`` where a batch holds
  prompts of similar length.
- ``parts_gain``: packed, where a CPU makes a few rows of logits at a time, against packed with all logits at once.
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
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from training_systems import DTYPES, Samples, Times, now, ours, theirs

from mentor.config.model import DecoderConfig
from mentor.config.presets import PRESETS
from mentor.models.decoder import Decoder


def useful_work(config: DecoderConfig, samples: Samples, steps: int) -> float:
    """Floating-point operations of an average step, forward and backward, that padding and masked keys have no part in."""
    with torch.device("meta"):
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
        "whole_logits": ours(config, mixed, arguments.steps, arguments.device, packed=True, whole_logits=True),
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
            "parts_gain": ("packed", "whole_logits"),
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
