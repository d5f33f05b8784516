"""The bidirectional language encoder that reads text and visual tokens together (paper 2.2).

Shapes: B batch, S condition tokens, De width of the language encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mentor.config.model import LanguageConfig


class LanguageEncoder(nn.Module):
    """An encoder that can be entered above its embedding table, where visual tokens take the place of words."""

    in_one_call = False
    """Whether ``forward_packed`` reads all prompts together: for FSDP, where every process must make the same calls."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def keep_in_float32(self) -> None:
        """Widens what float16 cannot hold by transformers' own account: the last product of T5's feed-forward parts."""
        names = set(getattr(self.model, "_keep_in_fp32_modules", None) or ())
        for name, module in self.model.named_modules():
            if name.rpartition(".")[2] in names:
                module.to(torch.float32)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Token ids int64 [B, S] -> word embeddings [B, S, De]; positions are added in ``forward``, where they apply."""
        embedding: nn.Module = self.model.get_input_embeddings()  # type: ignore[operator]
        return embedding(input_ids)

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor) -> Tensor:
        """Embeddings [B, S, De] and mask bool [B, S] -> states [B, S, De]; states of padding are finite and meaningless."""
        return self.model(inputs_embeds=inputs_embeds, attention_mask=attention_mask).last_hidden_state

    def forward_packed(self, inputs_embeds: Tensor, lengths: Sequence[int]) -> Tensor:
        """Embeddings [N, De] of prompts of these lengths, one after the other -> states [N, De].

        Prompts of similar length are read together, so that little is padded; all of them where ``in_one_call`` says so, and
        on a GPU, where a call costs more than padding.
        """
        parts = inputs_embeds.split(tuple(lengths))
        states: list[Tensor | None] = [None] * len(parts)
        everything = self.in_one_call or inputs_embeds.is_cuda
        for group in [list(range(len(parts)))] if everything else similar(lengths):
            padded = nn.utils.rnn.pad_sequence([parts[number] for number in group], batch_first=True)
            sizes = torch.tensor([lengths[number] for number in group], device=padded.device)
            read = self(padded, torch.arange(padded.shape[1], device=padded.device) < sizes[:, None])
            for place, number in enumerate(group):
                states[number] = read[place, : lengths[number]]
        return torch.cat([part for part in states if part is not None])


def similar(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of prompts in groups whose padding is at most an eighth of what they hold."""
    groups: list[list[int]] = []
    held = longest = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not groups or longest * (len(groups[-1]) + 1) > 1.125 * (held + lengths[number]):
            groups.append([])
            held, longest = 0, lengths[number]
        groups[-1].append(number)
        held += lengths[number]
    return groups


def _bert(config: LanguageConfig) -> nn.Module:
    from transformers import BertConfig, BertModel

    if config.head_width not in (0, config.width // config.num_heads):
        raise ValueError(
            f"a bert encoder's heads are width // num_heads wide; leave head_width 0 (got {config.head_width})"
        )
    bert = BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.mlp_width,
        hidden_act=config.activation,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        max_position_embeddings=config.max_positions,
        pad_token_id=config.pad_token_id,
        # Prompts are short: on a CPU plain products are nearly twice as fast as the fused kernel, forward and backward.
        attn_implementation="eager",
    )
    return BertModel(bert, add_pooling_layer=False)


def _t5(config: LanguageConfig) -> nn.Module:
    from transformers import T5Config, T5EncoderModel

    t5 = T5Config(
        vocab_size=config.vocab_size,
        d_model=config.width,
        d_kv=config.head_width or config.width // config.num_heads,
        d_ff=config.mlp_width,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=config.dropout,
        pad_token_id=config.pad_token_id,
    )
    # "gated-gelu" makes transformers choose the tanh form; the released checkpoints were trained with the erf form.
    t5.dense_act_fn = config.activation
    return T5EncoderModel(t5).encoder


def build_language_encoder(config: LanguageConfig) -> LanguageEncoder:
    """A randomly initialised encoder of the configured kind; ValueError for an unknown kind or impossible sizes."""
    kinds = {"bert": _bert, "t5": _t5}
    if config.kind not in kinds:
        raise ValueError(f"unknown language.kind {config.kind!r}; known: {', '.join(kinds)}")
    if not 0 <= config.image_token_id < config.vocab_size or config.image_token_id == config.pad_token_id:
        raise ValueError(
            f"language.image_token_id must be an id below vocab_size {config.vocab_size} other than pad_token_id "
            f"{config.pad_token_id}, got {config.image_token_id}"
        )
    return LanguageEncoder(kinds[config.kind](config))
