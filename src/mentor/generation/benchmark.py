"""How long one picture takes, part by part, and how near decoding comes to what the memory allows.

To predict one token, every weight of the decoder is read once, whatever is done with it. So a token takes at least as long as
it takes to read them: ``ms_to_read_weights``, measured before, during and after decoding (``bandwidth``), because a machine
that others use too changes within a run. The keys and values that attention reads come on top: they are not part of the
bound, and they are part of the share of the bandwidth that decoding reaches.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mentor.config.sampling import GenerationSettings
from mentor.generation.bandwidth import MemoryReader
from mentor.generation.pipeline import MentorPipeline
from mentor.models.decoder import Decoder
from mentor.nn.native.library import describe
from mentor.prompt import Prompt

READ_EVERY = 32
"""Tokens between two measurements of the memory."""


class _EnoughError(Exception):
    """Ends a run after the number of tokens that was asked for."""


@dataclass
class _Clock:
    """An ``on_token`` callback that notes how long each token took, without what it does itself in between."""

    reader: MemoryReader
    most: int
    on_token: Callable[[int, int], None] | None
    prefill: float = 0.0
    steps: list[float] = field(default_factory=list)
    _started: float = field(default_factory=lambda: time.perf_counter())

    def __call__(self, done: int, total: int) -> None:
        elapsed = time.perf_counter() - self._started
        if done == 1:
            self.prefill = elapsed
        else:
            self.steps.append(elapsed)
        if self.on_token is not None:
            self.on_token(done, self.most)
        if done == self.most < total:
            raise _EnoughError
        if done % READ_EVERY == 0:
            self.reader.read()
        self._started = time.perf_counter()


@torch.inference_mode()
def benchmark(
    pipeline: MentorPipeline,
    prompt: Prompt,
    settings: GenerationSettings,
    *,
    seed: int = 0,
    tokens: int | None = None,
    on_token: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Makes one picture on the CPU and says where the time went, in numbers that JSON can hold.

    tokens: stop after so many, 2 or more (None: all); the pixels are then decoded from a picture that is not complete.
    ``seconds`` has ``encode``, ``prefill`` (with the draw of token 0), ``tokens`` (all that follow), ``per_token`` (their
    median) and ``decode`` (tokens to pixels). ``peak_rss_gb`` is that of the process so far.

    Raises ValueError for a model on another device, a prompt that does not fit, or a number of tokens out of range.
    """
    decoder = pipeline.mentor.decoder
    total = decoder.config.num_tokens
    most = total if tokens is None else tokens
    check_tokens(most, total)
    if pipeline.device.type != "cpu":
        raise ValueError(f"the benchmark is one of a CPU, got a model on {pipeline.device}")

    start = time.perf_counter()
    condition = pipeline.encode([prompt])
    encode = time.perf_counter() - start

    reader = MemoryReader.of(decoder)
    reader.read(passes=3)
    clock = _Clock(reader, most, on_token)
    try:
        codes = pipeline.generate(condition, [seed], settings, on_token=clock)
    except _EnoughError:
        codes = torch.zeros(1, total, dtype=torch.int64)
    reader.read(passes=3)

    start = time.perf_counter()
    (image,) = pipeline.decode(codes)
    decode = time.perf_counter() - start

    condition_tokens = int(condition.mask.sum())
    sequences = 2 if settings.cfg_scale != 1 else 1
    cache = _cache_bytes(decoder, sequences, condition_tokens, most)
    per_token, bound = statistics.median(clock.steps), reader.fastest
    return {
        "peak_rss_gb": round(_peak_bytes() / 1e9, 3),
        "image_tokens": most,
        "complete": most == total,
        "image_size": list(image.size),
        "ms_per_token": _ms(per_token),
        "ms_to_read_weights": _ms(bound),
        "ratio_to_weight_streaming": round(per_token / bound, 3),
        "seconds": {
            "encode": round(encode, 3),
            "prefill": round(clock.prefill, 3),
            "tokens": round(sum(clock.steps), 3),
            "per_token": round(per_token, 8),
            "decode": round(decode, 3),
        },
        "memory": {
            "weights_gb_per_token": round(reader.bytes / 1e9, 6),
            "cache_gb_per_token": round(cache / 1e9, 6),
            "bandwidth_gb_per_s": round(reader.bytes / bound / 1e9, 2),
            "share_of_bandwidth": round((reader.bytes + cache) / per_token / (reader.bytes / bound), 3),
            "ms_by_reader": {name: _ms(statistics.median(times)) for name, times in reader.seconds.items()},
        },
        "settings": {
            "dtype": str(pipeline.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "decoding_by": describe(),
            "cfg_scale": settings.cfg_scale,
            "sequences": sequences,
            "condition_tokens": condition_tokens,
            "seed": seed,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "cpu": processor(),
        },
    }


def check_tokens(tokens: int, total: int) -> None:
    """Raises ValueError unless a run of ``tokens`` out of ``total`` has a token to measure."""
    if not 2 <= tokens <= total:
        raise ValueError(f"tokens: expected 2 to {total}, which is a whole picture, got {tokens}")


def processor() -> str:
    """The processor's name, as far as the system tells it, and how many it has."""
    name = platform.processor() or platform.machine()
    if (table := Path("/proc/cpuinfo")).is_file():
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} processors"


def _cache_bytes(decoder: Decoder, sequences: int, condition_tokens: int, tokens: int) -> float:
    """The keys and values that a step reads: the mean over the steps that predict tokens 1 to ``tokens`` - 1."""
    config = decoder.config
    position = 2 * config.num_layers * config.width * decoder.norm.weight.element_size()
    return sequences * position * (condition_tokens + tokens / 2)


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 5)
