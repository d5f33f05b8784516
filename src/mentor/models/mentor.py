"""The whole model, left to right as in the paper's figure 3: multimodal encoder -> projector -> decoder.

Shapes: B batch, S condition tokens, L image tokens, M images of all prompts, P visual tokens an image, Dv their width,
De width of the language encoder, D width of the decoder, V codebook.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mentor.config.model import MentorConfig
from mentor.models.decoder import Decoder
from mentor.models.multimodal_encoder import MultimodalEncoder
from mentor.models.projector import Projector
from mentor.nn.masks import left_pad


class Mentor(nn.Module):
    """Predicts image tokens from a prompt of interleaved text and images (paper 2.1 and 2.2).

    ``null_condition`` [context, De] stands in for a dropped prompt, which is what classifier-free guidance subtracts.
    """

    def __init__(self, config: MentorConfig) -> None:
        super().__init__()
        language = config.language
        if language.kind == "bert" and config.context > language.max_positions:
            raise ValueError(
                f"context {config.context} exceeds the language encoder's {language.max_positions} positions"
            )
        if config.context <= config.vision.tokens_per_image:
            raise ValueError(
                f"context {config.context} cannot hold one image of {config.vision.tokens_per_image} tokens"
            )
        self.config = config
        self.encoder = MultimodalEncoder(config.vision, language, config.connector)
        self.projector = Projector(config.projector, language.width, config.decoder.width)
        self.null_condition = nn.Parameter(torch.empty(config.context, language.width))
        self.decoder = Decoder(config.decoder)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Random weights for what joins the parts; the towers, whose weights come from elsewhere, and the decoder have theirs.

        Linear weights are normal with deviation 0.02 and biases 0; a null condition's row has length about 1 (LlamaGen).
        """
        for part in (self.encoder.connector, self.projector):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        # About as large as word embeddings, so that the language encoder's positions are not drowned (measured: 0.04).
        nn.init.normal_(self.encoder.connector.fc2.weight, std=0.005)
        nn.init.normal_(self.null_condition, std=self.config.language.width**-0.5)

    def condition(self, input_ids: Tensor, attention_mask: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Right-padded ids int64 [B, S], mask bool [B, S], features [M, P, Dv] -> left-padded states [B, S, De] and mask.

        ValueError when the placeholders and the visual tokens differ in number.
        """
        return left_pad(self.encoder(input_ids, attention_mask, features), attention_mask)

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
        self, input_ids: Tensor, attention_mask: Tensor, features: Tensor, tokens: Tensor, drop: Tensor | None = None
    ) -> Tensor:
        """Prompts as in ``condition``, image tokens int64 [B, L], dropped prompts bool [B] -> logits float32 [B, L, V].

        Teacher forcing: logits[:, i] predict tokens[:, i] from the prompt and the tokens before it (paper 2.1).
        """
        states, mask = self.condition(input_ids, attention_mask, features)
        return self.decoder(self.prefix(states, mask, drop), mask, tokens[:, :-1])
