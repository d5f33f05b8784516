"""The autoregressive decoder: a causal transformer over a condition prefix and the tokens of one image (paper 2.1).

LlamaGen's architecture: RMSNorm, SwiGLU, no biases, 2-D rotary positions over the image grid.

Shape letters: B batch, S condition tokens, L image tokens, D width, H heads, K head size, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mentor.config.model import DecoderConfig
from mentor.nn.attention import CausalSelfAttention, KVCache, LayerCache
from mentor.nn.blocks_step import blocks_step
from mentor.nn.cross_entropy import linear_cross_entropy
from mentor.nn.layers import RMSNorm, SwiGLU
from mentor.nn.masks import attention_bias, causal_prefix_mask
from mentor.nn.packed import Segments
from mentor.nn.rope import grid_rotation, prefix_rotation
from mentor.nn.streaming import StreamingLinear


class DecoderBlock(nn.Module):
    """Attention and feed-forward network, each after a norm and added to the stream: [B, T, D] -> [B, T, D]."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.residual_dropout = config.residual_dropout
        self.mlp_dropout = config.mlp_dropout
        self.attention_norm = RMSNorm(config.width, config.norm_eps)
        self.attention = CausalSelfAttention(config.width, config.num_heads)
        self.ffn_norm = RMSNorm(config.width, config.norm_eps)
        self.feed_forward = SwiGLU(config.width, mlp_width(config))

    def forward(
        self,
        x: Tensor,
        rotation: Tensor,
        bias: Tensor | Segments | None,
        cache: LayerCache | None = None,
        start: int | Tensor = 0,
    ) -> Tensor:
        x = x + self._drop(self.attention(self.attention_norm(x), rotation, bias, cache, start), self.residual_dropout)
        return x + self._drop(self.feed_forward(self.ffn_norm(x)), self.mlp_dropout)

    def _drop(self, x: Tensor, probability: float) -> Tensor:
        return F.dropout(x, probability) if self.training else x


class Decoder(nn.Module):
    """Predicts the next image token from the prefix and the image tokens so far.

    Image token ``n`` sits at cell ``n`` of the grid. The prefix has no position, so padding it changes nothing. Its
    last row predicts token 0, hence the left padding. Logits are float32 whatever the weights are.
    """

    rotation: Tensor

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        if config.width % config.num_heads:
            raise ValueError(
                f"the decoder's width must be a multiple of num_heads, got {config.width} and {config.num_heads}"
            )
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(DecoderBlock(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        self.output = StreamingLinear(config.width, config.vocab_size)
        self.rotation = grid_rotation(config.grid, config.head_width, config.rope_base)
        self.apply(_initialise)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Decoder:
        # The rotation is no buffer because a cast of the model must not touch it: it only follows the device.
        super()._apply(fn, recurse)
        device = self.norm.weight.device
        if device.type != "meta":
            self.rotation = self.rotation.to(device)
        return self

    def empty_cache(self, batch: int, prefix_length: int) -> KVCache:
        """A cache for ``batch`` sequences of ``prefix_length`` condition tokens and a whole image."""
        config, weight = self.config, self.norm.weight
        length = prefix_length + config.num_tokens - 1  # the last image token is predicted, never read
        return KVCache.empty(
            config.num_layers, batch, config.num_heads, length, config.head_width, weight.dtype, weight.device
        )

    def forward(self, prefix: Tensor, prefix_mask: Tensor, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        """Teacher forcing: ``logits[:, i]`` predicts image token ``i`` from the prefix and ``tokens[:, :i]``.

        prefix: [B, S, D], left-padded; prefix_mask: bool [B, S]; tokens: int64 [B, L'] in 0..V-1, L' < L.
        Returns float32 [B, L'+1, V], or given ``targets``, int64 [B, L'+1], their cross-entropy in nats, float32 [B, L'+1].
        Raises ValueError for more tokens than the grid can be asked for.
        """
        length, count = prefix.shape[1], tokens.shape[1]
        if count >= self.config.num_tokens:
            raise ValueError(
                f"at most {self.config.num_tokens - 1} tokens can be followed by another one in an image of "
                f"{self.config.num_tokens}, got {count}; leave out the last token"
            )
        x = torch.cat((prefix, self.tok_embeddings(tokens).to(prefix.dtype)), dim=1)
        x = F.dropout(x, self.config.token_dropout, self.training)
        rotation = torch.cat((self._prefix_rotation(length), self.rotation[:count]))
        bias = attention_bias(causal_prefix_mask(prefix_mask, count), x.dtype)
        for layer in self.layers:
            x = layer(x, rotation, bias)
        return self._head(x[:, length - 1 :], targets)

    def forward_packed(
        self, prefix: Tensor, lengths: Sequence[int], tokens: Tensor, targets: Tensor | None = None
    ) -> Tensor:
        """Teacher forcing without padding: what ``forward`` returns, of prefixes that lie one after the other.

        prefix: [S of all samples, D]; lengths: S of each; tokens, targets: as in ``forward``.
        """
        count = tokens.shape[1]
        embedded = self.tok_embeddings(tokens).to(prefix.dtype)
        x = torch.cat([part for pair in zip(prefix.split(tuple(lengths)), embedded, strict=True) for part in pair])[
            None
        ]
        x = F.dropout(x, self.config.token_dropout, self.training)
        turns = [(self._prefix_rotation(length), self.rotation[:count]) for length in lengths]
        rotation = torch.cat([part for pair in turns for part in pair])
        segments = Segments.of([length + count for length in lengths], x.device)
        for layer in self.layers:
            x = layer(x, rotation, segments)
        return self._head(torch.stack([part[-count - 1 :] for part in x[0].split(segments.lengths)]), targets)

    def prefill(self, prefix: Tensor, prefix_mask: Tensor, cache: KVCache) -> Tensor:
        """Reads the prefix into the cache and predicts image token 0: [B, S, D], bool [B, S] -> float32 [B, V]."""
        bias = attention_bias(causal_prefix_mask(prefix_mask, 0), prefix.dtype)
        x, rotation = prefix, self._prefix_rotation(prefix.shape[1])
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, rotation, bias, layer_cache)
        return self._head(x[:, -1])

    def decode(self, tokens: Tensor, index: int | Tensor, prefix_mask: Tensor | None, cache: KVCache) -> Tensor:
        """Reads image token ``index`` and predicts the one after it.

        tokens: int64 [B]; index: position in the image, 0..L-2, either an int (attends to the filled part of the
        cache only) or a 0-d tensor (static shapes, for torch.compile); prefix_mask: bool [B, S], or None where no
        row is padded and ``index`` is an int; cache: from ``empty_cache``. Returns float32 [B, V].
        """
        x = self.tok_embeddings(tokens)[:, None]
        bias = None
        start = cache.length - (self.config.num_tokens - 1) + index
        if isinstance(index, Tensor):
            assert prefix_mask is not None, "static shapes need a mask to hide what was not written yet"
            written = torch.arange(self.config.num_tokens - 1, device=x.device) <= index
            visible = torch.cat((prefix_mask, written.expand(x.shape[0], -1)), dim=1)
            bias = attention_bias(visible[:, None, None], x.dtype)
            rotation = self.rotation.index_select(0, index.reshape(1))
        else:
            if prefix_mask is not None:
                visible = F.pad(prefix_mask, (0, index + 1), value=True)
                bias = attention_bias(visible[:, None, None], x.dtype)
            rotation = self.rotation[index : index + 1]
            assert isinstance(start, int), start
            if not self.training:
                stepped = blocks_step(self.layers, DecoderBlock, x, rotation, bias, cache, start)
                if stepped is not None:
                    return self._head(stepped[:, -1])
        for layer, layer_cache in zip(self.layers, cache.layers, strict=True):
            x = layer(x, rotation, bias, layer_cache, start)
        return self._head(x[:, -1])

    def _prefix_rotation(self, length: int) -> Tensor:
        return prefix_rotation(self.config.prefix_rope, length, self.config.head_width, self.rotation.device)

    def _head(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        if targets is None:
            return self.output(self.norm(x)).float()
        losses = linear_cross_entropy(self.norm(x).flatten(0, -2), self.output, targets.flatten())
        return losses.view_as(targets)


def mlp_width(config: DecoderConfig) -> int:
    """Hidden width of the feed-forward network: the configured one or LlamaGen's rule."""
    return config.mlp_width or -(-int(2 * 4 * config.width / 3) // 256) * 256


def _initialise(module: nn.Module) -> None:
    """LlamaGen's start but for the head, which is zero there: normal weights of standard deviation 0.02."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
