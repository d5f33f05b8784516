"""A decoder block for one new position, in one call of the native kernels instead of twelve.

For a small model the way from Python to C and back is most of a step, for a large one it still costs 7 %.

Shape letters: B batch, H heads, K head size, T positions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mentor.nn.attention import CausalSelfAttention, LayerCache
from mentor.nn.layers import RMSNorm, SwiGLU
from mentor.nn.streaming import StreamingLinear, attention_kernels

_OWN = frozenset({CausalSelfAttention, RMSNorm, StreamingLinear, SwiGLU})


def block_step(
    attention_norm: RMSNorm,
    ffn_norm: RMSNorm,
    attention: CausalSelfAttention,
    feed_forward: SwiGLU,
    x: Tensor,
    rotation: Tensor,
    bias: Tensor | None,
    cache: LayerCache,
    start: int,
) -> Tensor | None:
    """``x + attention(norm(x))``, then ``+ feed_forward(norm(.))``: [B, 1, D] -> [B, 1, D]; writes ``cache`` at ``start``.

    rotation: float32 [1, K/2, 2]; bias: [B, 1, 1, start + 1] or None. None where PyTorch must do it (``native``), and where a
    module is not ours or not alone: an adapter took its place, or a hook waits for its output.
    """
    kernels = attention_kernels(x, rotation, cache.keys, cache.values, start, bias)
    if kernels is None or attention_norm.eps != ffn_norm.eps:
        return None
    wqkv, wo, w1, w3, w2 = attention.wqkv, attention.wo, feed_forward.w1, feed_forward.w3, feed_forward.w2
    if not (_untouched(attention) and _untouched(feed_forward)):
        return None
    weights = []
    for module in (attention_norm, wqkv, wo, ffn_norm, w1, w3, w2):
        weight = module.weight
        if not _untouched(module) or weight.dtype is not x.dtype or not weight.is_contiguous():
            return None
        weights.append(weight.data_ptr())
    batch, heads, capacity, head_width = cache.keys.shape
    hidden = w1.out_features
    y = torch.empty_like(x)
    scratch = x.new_empty(5 * x.numel() + 2 * batch * hidden)
    kernels.mentor_block(
        x.data_ptr(),
        *weights,
        rotation.data_ptr(),
        cache.keys.data_ptr(),
        cache.values.data_ptr(),
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        scratch.data_ptr(),
        batch,
        heads,
        head_width,
        hidden,
        capacity,
        start,
        attention_norm.eps,
        x.dtype is torch.bfloat16,
        torch.get_num_threads(),
    )
    return y


def _untouched(module: nn.Module) -> bool:
    return type(module) in _OWN and not module._forward_hooks and not module._forward_pre_hooks
