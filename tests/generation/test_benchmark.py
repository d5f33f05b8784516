"""The benchmark's numbers follow from one another, and from times that are made up."""

from __future__ import annotations

import json
import statistics

import pytest
import torch

from mentor.config.sampling import GenerationSettings
from mentor.generation import bandwidth
from mentor.generation import benchmark as module
from mentor.generation.bandwidth import MemoryReader
from mentor.generation.benchmark import benchmark
from mentor.generation.pipeline import MentorPipeline
from mentor.nn.native.library import library, plain
from mentor.prompt import Prompt
from tests.generation.tiny_bundle import CONFIG, tiny_bundle

TEXT = Prompt("the red fox")
TOKENS = CONFIG.decoder.num_tokens


@pytest.fixture(scope="module")
def pipeline() -> MentorPipeline:
    return MentorPipeline(tiny_bundle(), device="cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time: moved by hand."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_times_are_told_apart(pipeline: MentorPipeline, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(prompts):
        clock[0] += 3
        return original["encode"](prompts)

    def generate(condition, seeds, settings, *, on_token):
        tokens = original["generate"](condition, seeds, settings)
        clock[0] += 5
        on_token(1, TOKENS)
        for done in range(2, TOKENS + 1):
            clock[0] += 0.5 if done % 2 else 0.25
            on_token(done, TOKENS)
        clock[0] += 100  # nothing that belongs to a token
        return tokens

    def decode(codes):
        clock[0] += 7
        return original["decode"](codes)

    def read(reader: MemoryReader, passes: int = 1) -> None:
        clock[0] += 1000
        reader.seconds.setdefault("torch", []).extend([0.125] * passes)

    original = {name: getattr(pipeline, name) for name in ("encode", "generate", "decode")}
    for function in (encode, generate, decode):
        monkeypatch.setattr(pipeline, function.__name__, function)
    monkeypatch.setattr(MemoryReader, "read", read)
    monkeypatch.setattr(module, "READ_EVERY", 2)
    values = benchmark(pipeline, TEXT, GenerationSettings(cfg_scale=2.0))
    steps = [0.5 if done % 2 else 0.25 for done in range(2, TOKENS + 1)]
    assert values["seconds"] == {
        "encode": 3,
        "prefill": 5,
        "tokens": sum(steps),
        "per_token": statistics.median(steps),
        "decode": 7,
    }
    assert values["ms_per_token"] == 1e3 * statistics.median(steps)
    assert (values["ms_to_read_weights"], values["ratio_to_weight_streaming"]) == (
        125,
        statistics.median(steps) / 0.125,
    )


@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
@pytest.mark.parametrize("native", [True, False])
def test_a_whole_picture(pipeline: MentorPipeline, cfg_scale: float, native: bool) -> None:
    if native and library() is None:
        pytest.skip("no kernels here")
    seen = []
    settings = GenerationSettings(cfg_scale=cfg_scale)
    if native:
        values = benchmark(pipeline, TEXT, settings, on_token=lambda *each: seen.append(each))
    else:
        with plain():
            values = benchmark(pipeline, TEXT, settings, on_token=lambda *each: seen.append(each))
    assert json.loads(json.dumps(values)) == values
    assert seen == [(done, TOKENS) for done in range(1, TOKENS + 1)]
    assert (values["image_tokens"], values["complete"], values["image_size"]) == (TOKENS, True, [32, 32])
    assert set(values["memory"]["ms_by_reader"]) == ({"native", "torch"} if native else {"torch"})
    assert values["settings"]["sequences"] == (1 if cfg_scale == 1 else 2)
    assert values["settings"]["condition_tokens"] == 3
    assert values["settings"]["dtype"] == "float32"

    decoder = pipeline.mentor.decoder
    read_once = sum(p.numel() * 4 for p in decoder.parameters()) - decoder.tok_embeddings.weight.numel() * 4
    position = 2 * CONFIG.decoder.num_layers * CONFIG.decoder.width * 4 * values["settings"]["sequences"]
    mean = statistics.mean(3 + step for step in range(1, TOKENS))
    memory = values["memory"]
    assert memory["weights_gb_per_token"] == round(read_once / 1e9, 6)
    assert memory["cache_gb_per_token"] == round(position * mean / 1e9, 6)
    assert 0 < values["peak_rss_gb"] < 50
    per_token, bound = values["ms_per_token"], values["ms_to_read_weights"]
    assert values["ratio_to_weight_streaming"] == pytest.approx(per_token / bound, rel=0.02)
    assert values["seconds"]["tokens"] >= values["seconds"]["per_token"] > 0


def test_a_short_run_says_so(pipeline: MentorPipeline) -> None:
    values = benchmark(pipeline, TEXT, GenerationSettings(), tokens=5)
    assert (values["image_tokens"], values["complete"], values["image_size"]) == (5, False, [32, 32])


@pytest.mark.parametrize("tokens", [0, 1, -3, TOKENS + 1])
def test_impossible_numbers_of_tokens(pipeline: MentorPipeline, tokens: int) -> None:
    with pytest.raises(ValueError, match=f"expected 2 to {TOKENS}"):
        benchmark(pipeline, TEXT, GenerationSettings(), tokens=tokens)


def test_the_native_reader_reads_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """It adds up the same words as PyTorch; only ends of less than 512 bytes are left out."""
    if library() is None:
        pytest.skip("no kernels here")
    monkeypatch.setattr(bandwidth, "PIECE", 8192)
    weights = [torch.randint(-9, 9, (size,), dtype=torch.int32) for size in (3 * 2048, 1024, 2048 + 128)]
    reader = MemoryReader(weights)
    reader.read()
    sums = reader._pieces[2]
    assert sums.tolist() == [int(part.sum()) for weight in weights for part in weight.split(2048)]
    assert reader.bytes == 4 * sum(map(len, weights))


def test_the_reader_takes_what_a_token_needs(pipeline: MentorPipeline) -> None:
    decoder = pipeline.mentor.decoder
    reader = MemoryReader.of(decoder)
    assert len(reader.weights) == len(list(decoder.parameters())) - 1
    assert decoder.tok_embeddings.weight.data_ptr() not in {weight.data_ptr() for weight in reader.weights}
    reader.read(passes=2)
    assert all(len(times) == 2 and min(times) > 0 for times in reader.seconds.values())
    reader.seconds = {"native": [5.0, 1.0, 2.0], "torch": [3.0, 3.0, 0.5]}
    assert reader.fastest == 2.0
