"""Causal self-attention and its static key-value cache.

Shape letters: B batch, T positions, D width, H heads, K head size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentor.nn.packed import Segments, attend_packed
from mentor.nn.rope import rotate
from mentor.nn.streaming import StreamingLinear, attend_step

# On a CPU two plain matrix products and a softmax beat the fused kernel on short sequences, forward and backward
# (bf16, B=64, H=4, K=64, T=104: 8 ms against 46 ms). Memory grows with T^2, so long sequences take the fused kernel,
# and so does a single query (a decode step), where one call is cheaper than three.
PLAIN_ATTENTION_MAX_LENGTH = 512


@dataclass(frozen=True)
class LayerCache:
    """Keys and values of one layer: [B, H, T, K]. Positions not written yet hold zeros and are never attended to."""

    keys: Tensor
    values: Tensor

    def update(self, keys: Tensor, values: Tensor, start: int | Tensor) -> tuple[Tensor, Tensor]:
        """Writes new positions [B, H, T', K] from ``start`` on and returns the keys and values to attend to.

        An int ``start`` returns the filled part only; a tensor (a 0-d int64, one new position) returns the whole static
        length, so that shapes do not depend on the position (torch.compile).
        """
        if isinstance(start, Tensor):
            index = start.reshape(1)
            self.keys.index_copy_(2, index, keys.to(self.keys.dtype))
            self.values.index_copy_(2, index, values.to(self.values.dtype))
            return self.keys, self.values
        end = start + keys.shape[2]
        self.keys[:, :, start:end] = keys
        self.values[:, :, start:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]


@dataclass(frozen=True)
class KVCache:
    """The caches of all layers, allocated once for a whole generation and passed as an argument."""

    layers: tuple[LayerCache, ...]

    @classmethod
    def empty(
        cls,
        num_layers: int,
        batch: int,
        heads: int,
        length: int,
        head_width: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> KVCache:
        """Room for ``length`` positions in every layer."""

        def zeros() -> Tensor:
            return torch.zeros(batch, heads, length, head_width, dtype=dtype, device=device)

        return cls(tuple(LayerCache(zeros(), zeros()) for _ in range(num_layers)))

    @property
    def length(self) -> int:
        """T, the number of positions there is room for."""
        return self.layers[0].keys.shape[2]

    def first(self, batch: int) -> KVCache:
        """Views of the first ``batch`` sequences."""
        return KVCache(tuple(LayerCache(layer.keys[:batch], layer.values[:batch]) for layer in self.layers))


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(K) + bias) v: [B, H, T', K] x [B, H, T, K] -> [B, H, T', K]; ``bias`` [B, 1, T', T]."""
    fused = queries.shape[2] == 1 or keys.shape[2] > PLAIN_ATTENTION_MAX_LENGTH or queries.device.type != "cpu"
    if fused:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
    logits = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
    if bias is not None:
        logits += bias
    return logits.softmax(-1) @ values


class CausalSelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions and without biases: [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.wqkv = StreamingLinear(width, 3 * width)
        self.wo = StreamingLinear(width, width)
        self.attend_packed = attend_packed

    def forward(
        self,
        x: Tensor,
        rotation: Tensor,
        bias: Tensor | Segments | None,
        cache: LayerCache | None = None,
        start: int | Tensor = 0,
    ) -> Tensor:
        """Attends over ``x``, or over ``x`` and everything in ``cache`` before position ``start``.

        x: [B, T, D]; rotation: [T, K/2, 2]; bias: [B, 1, T, keys], None where every key may be seen, or segments of the one
        row in ``x`` that see themselves alone.
        """
        qkv = self.wqkv(x)
        qkv = qkv.view(*qkv.shape[:2], 3 * self.num_heads, -1)
        if isinstance(bias, Segments):
            return self.wo(self._packed(qkv[0], rotation, bias)[None])
        if cache is not None and isinstance(start, int):
            attended = attend_step(qkv, rotation, cache.keys, cache.values, start, bias)
            if attended is not None:
                return self.wo(attended)
        both, values = qkv.split((2 * self.num_heads, self.num_heads), dim=2)
        queries, keys = rotate(both, rotation).transpose(1, 2).to(x.dtype).chunk(2, dim=1)
        values = values.transpose(1, 2)
        if cache is not None:
            keys, values = cache.update(keys, values, start)
        return self.wo(attend(queries, keys, values, bias).transpose(1, 2).flatten(2))

    def _packed(self, qkv: Tensor, rotation: Tensor, segments: Segments) -> Tensor:
        """[N, 3H, K] of all segments -> [N, D]."""
        both, values = qkv.split((2 * self.num_heads, self.num_heads), dim=1)
        queries, keys = rotate(both, rotation).to(qkv.dtype).chunk(2, dim=1)
        return self.attend_packed(queries, keys, values, segments).flatten(1)
