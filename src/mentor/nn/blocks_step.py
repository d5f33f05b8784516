"""All decoder blocks for one new position, in one call of the native kernels instead of hundreds.

For a small model the way from Python to C and back is most of a step, and a large one reads no weights meanwhile.

Shape letters: B batch, H heads, K head size, T positions, D width.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from mentor.nn.attention import CausalSelfAttention, KVCache
from mentor.nn.layers import RMSNorm, SwiGLU
from mentor.nn.streaming import StreamingLinear, attention_kernels

_PARTS = ("attention_norm", "attention", "ffn_norm", "feed_forward")
_KINDS: tuple[type[nn.Module], ...] = (
    RMSNorm,
    StreamingLinear,
    StreamingLinear,
    RMSNorm,
    StreamingLinear,
    StreamingLinear,
    StreamingLinear,
)


def blocks_step(
    blocks: Iterable[nn.Module],
    kind: type[nn.Module],
    x: Tensor,
    rotation: Tensor,
    bias: Tensor | None,
    cache: KVCache,
    start: int,
) -> Tensor | None:
    """The blocks one after the other: [B, 1, D] -> [B, 1, D]; the cache is written at ``start``.

    kind: the blocks' class, which is ``x + attention(attention_norm(x))``, then ``+ feed_forward(ffn_norm(.))``; rotation:
    float32 [1, K/2, 2]; bias: [B, 1, 1, start + 1] or None. Returns None where PyTorch must do it (``native``), and where a
    module is not as it was built: another class or an adapter took its place, or a hook waits for its output.
    """
    first = cache.layers[0]
    batch, heads, capacity, head_width = first.keys.shape
    kernels = attention_kernels(x, rotation, first.keys, first.values, start, bias)
    if kernels is None or x.shape[2:] != (heads * head_width,) or _has_any_global_hook():
        return None
    config: tuple[float, int] | None = None
    pointers: list[int] = []
    for block, layer in zip(blocks, cache.layers, strict=True):
        found = _read(block, x) if type(block) is kind else None
        if found is None or found[0] != (config or found[0]) or not _alike(first.keys, layer.keys, layer.values):
            return None
        config = found[0]
        pointers += (*found[1], layer.keys.data_ptr(), layer.values.data_ptr())
    assert config is not None, "a decoder has a block"
    epsilon, hidden = config
    y = torch.empty_like(x)
    scratch = x.new_empty(5 * x.numel() + 2 * batch * hidden)
    kernels.mentor_step(
        (ctypes.c_void_p * len(pointers))(*pointers),
        len(cache.layers),
        x.data_ptr(),
        rotation.data_ptr(),
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        scratch.data_ptr(),
        batch,
        heads,
        head_width,
        hidden,
        capacity,
        start,
        epsilon,
        x.dtype is torch.bfloat16,
        torch.get_num_threads(),
    )
    return y


def _alike(first: Tensor, *others: Tensor) -> bool:
    """Whether the kernels can read the caches of all layers as they read the first one's."""
    return all(
        other.shape == first.shape and other.dtype is first.dtype and other.is_cpu and other.is_contiguous()
        for other in others
    )


def _read(block: nn.Module, x: Tensor) -> tuple[tuple[float, int], list[int]] | None:
    """(epsilon, hidden width) and the addresses of the weights in the kernels' order; None for a block that was changed."""
    # The dictionaries that attributes are looked up in: asking for the attributes takes three times as long.
    parts: dict[str, Any] = block._modules
    found: list[Any] = [parts.get(name) for name in _PARTS]
    norm, attention, ffn_norm, feed_forward = found
    if type(attention) is not CausalSelfAttention or type(feed_forward) is not SwiGLU:
        return None
    inner, outer = attention._modules, feed_forward._modules
    modules: tuple[Any, ...] = norm, inner["wqkv"], inner["wo"], ffn_norm, outer["w1"], outer["w3"], outer["w2"]
    if any(type(module) is not kind or _heard(module) for module, kind in zip(modules, _KINDS, strict=True)):
        return None
    if norm.eps != ffn_norm.eps or _heard(attention) or _heard(feed_forward) or _heard(block):
        return None
    width, hidden = x.shape[-1], modules[4].weight.shape[0]
    square, wide = (width, width), (hidden, width)
    shapes = (width,), (3 * width, width), square, (width,), wide, wide, (width, hidden)
    pointers = []
    for module, shape in zip(modules, shapes, strict=True):
        weight = module._parameters.get("weight")
        if type(weight) is not nn.Parameter or weight.shape != shape or weight.dtype is not x.dtype:
            return None
        if not (weight.is_cpu and weight.is_contiguous()):
            return None
        pointers.append(weight.data_ptr())
    return (norm.eps, hidden), pointers


def _heard(module: nn.Module) -> bool:
    """Whether somebody waits for a module's call, or has put a function of his own in its place."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in module.__dict__
