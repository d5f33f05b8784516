"""How long one picture takes: our decode against ``transformers``' ``LlamaForCausalLM.generate`` of the same shape.

    python benchmarks/generation.py [--json] [--width 256 --layers 8 --heads 4] [--threads 2] [--device cuda --dtype bfloat16]
        [--compile]

Both models are LLaMA blocks with random weights and the same number of parameters. Both generate one picture with
classifier-free guidance (a batch of two) and take the most likely token, so that both do the same work. Runs alternate
within one process; medians are compared, because absolute times say more about the machine than about the code. On a
busy machine trust ``cpu_ratio_vs_hf`` (processor time, with ``--threads 1``) instead of ``ratio_vs_hf`` (wall time).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, LogitsProcessorList

from mentor.config.model import DecoderConfig
from mentor.config.sampling import GenerationSettings
from mentor.generation.decode import generate_tokens
from mentor.generation.guidance import guided
from mentor.models.decoder import Decoder, mlp_width

CFG_SCALE = 3.0


class BareMentor(nn.Module):
    """A decoder whose prefix is given as it is: everything before the decoder is left out of the measurement."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config)

    def prefix(self, states: Tensor, mask: Tensor, drop: Tensor | None = None) -> Tensor:
        return states


class Guidance:
    """Guidance for ``generate``: both halves of the batch get the guided logits, and with them the same token."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        conditional, unconditional = scores.chunk(2)
        return guided(conditional, unconditional, CFG_SCALE).repeat(2, 1)


def ours(config: DecoderConfig, prefix: Tensor, *, temperature: float, compiled: bool) -> Callable[[], Tensor]:
    """A function that generates one picture with our decode."""
    mentor = BareMentor(config).to(prefix.device, prefix.dtype).eval()
    mask = torch.ones(prefix.shape[:2], dtype=torch.bool, device=prefix.device)
    settings = GenerationSettings(CFG_SCALE, temperature)

    def generate() -> Tensor:
        generators = [torch.Generator(prefix.device).manual_seed(0)]
        return generate_tokens(mentor, prefix, mask, settings, generators=generators, compiled=compiled)

    return generate


def theirs(config: DecoderConfig, prefix: Tensor) -> Callable[[], Tensor]:
    """A function that generates one picture with ``LlamaForCausalLM.generate``."""
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=mlp_width(config),
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            max_position_embeddings=prefix.shape[1] + config.num_tokens,
            rms_norm_eps=config.norm_eps,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )
    model = model.to(prefix.device, prefix.dtype).eval()
    with torch.device("meta"):
        expected = sum(parameter.numel() for parameter in Decoder(config).parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    embeds = prefix.repeat(2, 1, 1)
    mask = torch.ones(embeds.shape[:2], dtype=torch.int64, device=prefix.device)

    def generate() -> Tensor:
        return model.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            max_new_tokens=config.num_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([Guidance()]),
        )

    return generate


def measure(
    systems: dict[str, Callable[[], Tensor]], repeats: int, num_tokens: int
) -> dict[str, list[tuple[float, float]]]:
    """(wall, processor) seconds of every run of every system, the systems taking turns after one warm-up each."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for turn in range(repeats + 1):
        for name, generate in systems.items():
            wall, processor = time.perf_counter(), time.process_time()
            tokens = generate()
            if tokens.is_cuda:
                torch.cuda.synchronize()
            elapsed = time.perf_counter() - wall, time.process_time() - processor
            assert tokens.shape[1] == num_tokens, (name, tokens.shape)
            if turn:
                seconds[name].append(elapsed)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--grid", type=int, default=16, help="side of the token grid: 16 is a picture of 256 tokens")
    parser.add_argument("--prefix", type=int, default=40, help="condition tokens")
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="also time the compiled decode step")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = DecoderConfig(
        width=arguments.width,
        num_layers=arguments.layers,
        num_heads=arguments.heads,
        vocab_size=arguments.vocab,
        grid=arguments.grid,
    )
    prefix = torch.randn(1, arguments.prefix, config.width).to(arguments.device, getattr(torch, arguments.dtype))
    systems = {
        "ours": ours(config, prefix, temperature=0.0, compiled=False),
        "hf": theirs(config, prefix),
        "ours_sampling": ours(config, prefix, temperature=1.0, compiled=False),
    }
    if arguments.compile:
        systems["ours_compiled"] = ours(config, prefix, temperature=0.0, compiled=True)
    seconds = measure(systems, arguments.repeats, config.num_tokens)
    medians = {name: statistics.median(wall for wall, _ in times) for name, times in seconds.items()}
    processor = {name: statistics.median(cpu for _, cpu in times) for name, times in seconds.items()}
    result = {
        "ratio_vs_hf": round(medians["hf"] / medians["ours"], 3),
        "cpu_ratio_vs_hf": round(processor["hf"] / processor["ours"], 3),
        "seconds": {name: round(median, 4) for name, median in medians.items()},
        "ms_per_token": {name: round(median * 1000 / config.num_tokens, 3) for name, median in medians.items()},
        "cpu_ms_per_token": {name: round(cpu * 1000 / config.num_tokens, 3) for name, cpu in processor.items()},
        "runs": {name: [round(wall, 4) for wall, _ in times] for name, times in seconds.items()},
        "settings": vars(arguments),
        "machine": torch.cuda.get_device_name() if prefix.is_cuda else platform.processor() or platform.machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    if arguments.json:
        print(json.dumps(result))
        return
    for name, median in medians.items():
        print(f"{name:14s} {median:7.3f} s  {median * 1000 / config.num_tokens:6.2f} ms a token")
    print(f"ratio_vs_hf    {result['ratio_vs_hf']:.2f} (processor time {result['cpu_ratio_vs_hf']:.2f})")


if __name__ == "__main__":
    main()
