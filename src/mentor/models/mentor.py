"""The whole model, left to right as in the paper's figure 3: multimodal encoder -> projector -> decoder.

Shapes: B batch, S condition tokens, L image tokens, M images of all prompts, P visual tokens an image, Dv their width,
De width of the language encoder, D width of the decoder, V codebook.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mentor.config.model import MentorConfig
from mentor.models.decoder import Decoder
from mentor.models.multimodal_encoder import MultimodalEncoder
from mentor.models.projector import Projector
from mentor.models.query_former import QueryFormerConnector
from mentor.nn.masks import left_pad


class Mentor(nn.Module):
    """Predicts image tokens from a prompt of interleaved text and images (paper 2.1 and 2.2).

    ``null_condition`` [context, De] stands in for a dropped prompt, which is what classifier-free guidance subtracts: a
    parameter, or a buffer that is saved and never trained (``config.null_condition``). The encoder is built in
    ``config.encoder_dtype``, all else in float32.
    """

    null_condition: Tensor

    def __init__(self, config: MentorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = MultimodalEncoder(config.vision, config.language, config.connector)
        self.encoder.to(getattr(torch, config.encoder_dtype))
        self.projector = Projector(config.projector, config.language.width, config.decoder.width)
        null = torch.empty(config.context, config.language.width)
        if config.null_condition == "learned":
            self.null_condition = nn.Parameter(null)
        else:
            self.register_buffer("null_condition", null)
        self.decoder = Decoder(config.decoder)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Random weights for what joins the parts; the towers, whose weights come from elsewhere, and the decoder have theirs.

        Linear weights, embeddings and a Query-Former's queries are normal with deviation 0.02, biases 0, norms 1; a null
        condition's row has length about 1 (LlamaGen).
        """
        connector = self.encoder.connector
        for part in (self.projector,) if connector is None else (connector, self.projector):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
                elif isinstance(module, nn.Embedding):
                    nn.init.normal_(module.weight, std=0.02)
                elif isinstance(module, nn.LayerNorm):
                    nn.init.ones_(module.weight)
                    nn.init.zeros_(module.bias)
                elif isinstance(module, QueryFormerConnector):
                    nn.init.normal_(module.query_tokens, std=0.02)
        if connector is not None:
            # About as large as word embeddings, so that the language encoder's positions are not drowned (measured: 0.04).
            nn.init.normal_(connector.output.weight, std=0.005)
        nn.init.normal_(self.null_condition, std=self.config.language.width**-0.5)

    def cast(self, dtype: torch.dtype) -> Mentor:
        """The same model with weights of type ``dtype``, but for those of the language encoder that float16 cannot hold."""
        self.to(dtype)
        if dtype is torch.float16:
            self.encoder.language.keep_in_float32()
        return self

    def condition(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        features: Tensor | None = None,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Right-padded ids int64 [B, S], mask bool [B, S], features [M, P, Dv] -> left-padded states [B, S, De] and mask.

        Without ``features`` no prompt has an image. ``query_ids`` and ``query_mask`` [M, T]: see ``MultimodalEncoder``. The
        states come in the projector's number type, whatever the encoder's is. ValueError when the placeholders and the
        visual tokens differ in number.
        """
        features = self._no_images() if features is None else features
        states = self.encoder(input_ids, attention_mask, features, query_ids, query_mask)
        return left_pad(states.to(self.projector.fc1.weight.dtype), attention_mask)

    def prefix(self, states: Tensor, mask: Tensor, drop: Tensor | None = None) -> Tensor:
        """Left-padded states [B, S, De] and mask bool [B, S] -> the decoder's prefix [B, S, D].

        Rows marked in ``drop`` (bool [B]) become the last S rows of the null condition. Their mask stays that of the prompt
        they replace, so a guided pair attends to equally many positions.
        """
        batch, length = mask.shape
        assert states.shape[:2] == (batch, length), (states.shape, mask.shape)
        if length > self.config.context:
            raise ValueError(f"the condition has {length} tokens, the model's context is {self.config.context}")
        if drop is not None:
            null = self.null_condition[self.config.context - length :].to(states.dtype)
            states = torch.where(drop.view(batch, 1, 1), null, states)
        return self.projector(states)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        features: Tensor | None,
        tokens: Tensor,
        drop: Tensor | None = None,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
        lengths: Sequence[int] | None = None,
        losses: bool = False,
    ) -> Tensor:
        """Prompts as in ``condition``, image tokens int64 [B, L], dropped prompts bool [B] -> logits float32 [B, L, V].

        Teacher forcing: logits[:, i] predict tokens[:, i] from the prompt and the tokens before it (paper 2.1); with
        ``losses`` their cross-entropy in nats, float32 [B, L], takes the logits' place. Given the prompts' ``lengths`` (the
        mask's sums) nothing padded is computed; the result is the same.
        """
        targets = tokens if losses else None
        if lengths is not None:
            prefix = self._packed_prefix(input_ids[attention_mask], lengths, features, drop, query_ids, query_mask)
            return self.decoder.forward_packed(prefix, lengths, tokens[:, :-1], targets)
        states, mask = self.condition(input_ids, attention_mask, features, query_ids, query_mask)
        return self.decoder(self.prefix(states, mask, drop), mask, tokens[:, :-1], targets)

    def _packed_prefix(
        self,
        input_ids: Tensor,
        lengths: Sequence[int],
        features: Tensor | None,
        drop: Tensor | None,
        query_ids: Tensor | None,
        query_mask: Tensor | None,
    ) -> Tensor:
        """Ids int64 [N] of prompts one after the other -> the decoder's prefixes [N, D], dropped ones replaced."""
        if max(lengths) > self.config.context:
            raise ValueError(f"the condition has {max(lengths)} tokens, the model's context is {self.config.context}")
        features = self._no_images() if features is None else features
        states = self.encoder.forward_packed(input_ids, lengths, features, query_ids, query_mask)
        states = states.to(self.projector.fc1.weight.dtype)
        if drop is not None:
            null = torch.cat([self.null_condition[self.config.context - length :] for length in lengths])
            repeats = torch.tensor(lengths, device=drop.device)
            dropped = drop.repeat_interleave(repeats, output_size=len(states))
            states = torch.where(dropped[:, None], null.to(states.dtype), states)
        return self.projector(states)

    def _no_images(self) -> Tensor:
        vision = self.config.vision
        return self.null_condition.new_zeros((0, vision.tokens_per_image, vision.width) if vision else (0, 0, 0))
