"""A step of all blocks in one call is their modules one after the other."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from mentor.config.model import DecoderConfig
from mentor.models import decoder as module
from mentor.models.decoder import Decoder, DecoderBlock
from mentor.nn.attention import KVCache, LayerCache
from mentor.nn.native.library import native, plain
from tests.nn.native.variants import use, variants

CONFIG = DecoderConfig(width=192, num_layers=3, num_heads=3, vocab_size=70, grid=4, mlp_width=96)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}

pytestmark = pytest.mark.skipif(native().library is None, reason=native().what)


def steps(decoder: Decoder, batch: int = 2, padded: bool = True) -> torch.Tensor:
    """Logits of the prefix and of every cached step [B, L, V]."""
    generator = torch.Generator().manual_seed(batch)
    weight = decoder.norm.weight
    mask = torch.arange(7) >= torch.arange(batch)[:, None] % 4 * padded
    prefix = (torch.randn(batch, 7, CONFIG.width, generator=generator) * mask[..., None]).to(weight.dtype)
    tokens = torch.randint(0, CONFIG.vocab_size, (batch, CONFIG.num_tokens - 1), generator=generator)
    cache = decoder.empty_cache(batch, 7)
    with torch.no_grad():
        logits = [decoder.prefill(prefix, mask, cache)]
        for index, column in enumerate(tokens.T):
            logits.append(decoder.decode(column, index, mask if padded else None, cache))
        teacher = decoder(prefix, mask, tokens)
    together = torch.stack(logits, dim=1)
    assert (together - teacher).abs().max() <= TOLERANCE[weight.dtype] * teacher.abs().max()
    return together


def decoder_of(dtype: torch.dtype = torch.float32) -> Decoder:
    torch.manual_seed(0)
    decoder = Decoder(CONFIG).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(mean=float(parameter.ndim == 1), std=0.08)
    return decoder.to(dtype)


@variants
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("batch", "padded"), [(1, False), (2, False), (2, True), (5, True)])
def test_the_logits_are_those_of_pytorch(monkeypatch, flags, dtype, batch, padded):
    use(monkeypatch, flags)
    decoder = decoder_of(dtype)
    called = calls(monkeypatch)
    ours = steps(decoder, batch, padded)
    assert called == [True] * (CONFIG.num_tokens - 1)
    monkeypatch.setattr("mentor.nn.streaming.library", lambda: None)
    theirs = steps(decoder, batch, padded)
    assert called[-1] is False
    assert (ours - theirs).abs().max() <= TOLERANCE[dtype] * theirs.abs().max()


def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each step went through the kernels, as it happens."""
    original, done = module.blocks_step, []

    def watched(*args):
        result = original(*args)
        done.append(result is not None)
        return result

    monkeypatch.setattr(module, "blocks_step", watched)
    return done


def test_an_adapter_is_not_passed_over():
    decoder = decoder_of()
    before = steps(decoder)

    class Doubled(nn.Module):
        def __init__(self, inner: nn.Linear) -> None:
            super().__init__()
            self.inner, self.weight, self.out_features = inner, inner.weight, inner.out_features

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.inner(x)

    for part in ("wo", "w3"):
        decoder = decoder_of()
        block = decoder.layers[1]
        owner = block.attention if part == "wo" else block.feed_forward
        setattr(owner, part, Doubled(getattr(owner, part)))
        changed = steps(decoder)
        with plain():
            torch.testing.assert_close(changed, steps(decoder), rtol=1e-4, atol=1e-4)
        assert (changed - before).abs().max() > 1e-2


def test_hooks_are_called():
    decoder = decoder_of()
    heard = []
    block = decoder.layers[0]
    for part in (block, block.attention, block.attention.wqkv, block.feed_forward, block.ffn_norm):
        handles = [
            part.register_forward_hook(lambda *_: heard.append("after")),
            part.register_forward_pre_hook(lambda *_: heard.append("before")),
        ]
        steps(decoder)
        assert heard.count("after") == heard.count("before") == CONFIG.num_tokens + 1  # prefill, steps, teacher forcing
        for handle in handles:
            handle.remove()
        heard.clear()


def test_a_forward_put_in_a_module_s_place_is_called():
    """As accelerate puts one to move a layer's weights."""
    decoder, heard = decoder_of(), []
    linear = decoder.layers[1].attention.wo
    original = linear.forward
    linear.forward = lambda x: heard.append(x.shape) or original(x)
    steps(decoder)
    assert len(heard) == CONFIG.num_tokens + 1


def test_a_block_that_was_changed_is_called():
    """One with another function in its place, one of a class that builds on ours, one that every module's hook hears of."""
    decoder, heard = decoder_of(), []
    block = decoder.layers[1]
    original = block.forward
    block.forward = lambda x, *rest: heard.append(x.shape) or original(x, *rest)
    steps(decoder)
    assert len(heard) == CONFIG.num_tokens + 1

    class Skipped(DecoderBlock):
        def forward(self, x: torch.Tensor, *_: object) -> torch.Tensor:
            return x

    decoder = decoder_of()
    before = steps(decoder)
    decoder.layers[1].__class__ = Skipped
    changed = steps(decoder)  # compares the steps with teacher forcing
    assert (changed - before).abs().max() > 1e-2

    heard.clear()
    handle = register_module_forward_hook(lambda module, *_: heard.append(module) if module is block else None)
    try:
        decoder = decoder_of()
        block = decoder.layers[1]
        steps(decoder)
    finally:
        handle.remove()
    assert len(heard) == CONFIG.num_tokens + 1


def test_what_the_kernels_cannot_read_goes_through_pytorch(monkeypatch):
    """Addresses are all that they get: of a weight that is elsewhere, of a cache of other heads, of a wrapped block."""
    called = calls(monkeypatch)

    def step(decoder: Decoder, prefix: int = 3) -> None:
        first, second, third = decoder.empty_cache(1, prefix).layers
        longer = LayerCache(third.keys.repeat(1, 1, 2, 1), third.values.repeat(1, 1, 2, 1))
        cache = KVCache((first, second, longer))
        with torch.no_grad():
            decoder.decode(torch.zeros(1, dtype=torch.int64), 0, None, cache)

    step(decoder_of())
    wrapped = decoder_of()
    wrapped.layers[1] = Wrapped(wrapped.layers[1])
    step(wrapped)
    assert called == [False, False]
    away = decoder_of()
    away.layers[2].feed_forward.w2.to("meta")
    with torch.no_grad(), suppress(RuntimeError, NotImplementedError):
        away.decode(torch.zeros(1, dtype=torch.int64), 0, None, away.empty_cache(1, 3))
    assert called == [False] * 3
    turned = decoder_of()
    turned.rotation = turned.rotation.double()
    cache = turned.empty_cache(1, 3)
    with torch.no_grad(), suppress(RuntimeError):  # PyTorch need not like it either
        turned.decode(torch.zeros(1, dtype=torch.int64), 0, None, cache)
    assert called[-1] is False


class Wrapped(nn.Module):
    """A block inside another module, as ``torch.compile`` has it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *arguments: object) -> torch.Tensor:
        return self.block(*arguments)


def test_training_drops_out(monkeypatch):
    called = calls(monkeypatch)
    decoder = decoder_of().train()
    with torch.no_grad():
        cache = decoder.empty_cache(1, 3)
        decoder.prefill(torch.zeros(1, 3, CONFIG.width), torch.ones(1, 3, dtype=torch.bool), cache)
        decoder.decode(torch.zeros(1, dtype=torch.int64), 0, None, cache)
    assert called == []


def test_a_step_beyond_the_cache_is_refused_as_before():
    decoder = decoder_of()
    cache = decoder.empty_cache(1, 3)
    with torch.no_grad(), pytest.raises((RuntimeError, IndexError)):
        decoder.decode(torch.zeros(1, dtype=torch.int64), CONFIG.num_tokens + 3, None, cache)
