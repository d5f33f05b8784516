"""The Query-Former connector (paper 2.2): a fixed number of learned queries stands for an image (BLIP-2, InstructBLIP).

        queries [Q] | query text [T]           "fox"
              |              |
        self-attention over both      <-----+
              |              |              |
        cross-attention      |              |  num_layers times; the image is read in every
        to the image [P]     |              |  cross_attention_every-th layer, beginning with the first
              |              |              |
        feed-forward   feed-forward   ------+
              |
        language_projection  ->  [Q, De]

Shapes: M images, P visual tokens an image, Dv their width, Q queries, T tokens of the query text, De width of the language
encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mentor.config.model import ConnectorConfig


class QueryFormerConnector(nn.Module):
    """InstructBLIP's Q-Former with its queries and its projection, under the names that its checkpoints have.

    ValueError for sizes that are missing or do not fit each other.
    """

    def __init__(self, config: ConnectorConfig, in_width: int, out_width: int) -> None:
        from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

        super().__init__()
        for name in (
            "queries",
            "hidden",
            "num_layers",
            "num_heads",
            "mlp_width",
            "vocab_size",
            "cross_attention_every",
        ):
            if getattr(config, name) < 1:
                raise ValueError(f"a query_former needs connector.{name} of 1 or more, got {getattr(config, name)}")
        if config.hidden % config.num_heads:
            raise ValueError(
                f"connector.hidden {config.hidden} does not divide into connector.num_heads {config.num_heads}"
            )
        self.config = config
        qformer = InstructBlipQFormerConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            intermediate_size=config.mlp_width,
            hidden_act=config.activation,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
            max_position_embeddings=config.max_positions,
            cross_attention_frequency=config.cross_attention_every,
            encoder_hidden_size=in_width,
        )
        # Queries that start equal would stay equal: nothing else tells them apart.
        self.query_tokens = nn.Parameter(torch.randn(1, config.queries, config.hidden) * qformer.initializer_range)
        self.qformer = InstructBlipQFormerModel(qformer)
        self.language_projection = nn.Linear(config.hidden, out_width)

    @property
    def output(self) -> nn.Linear:
        """The last layer."""
        return self.language_projection

    def forward(self, features: Tensor, query_ids: Tensor | None = None, query_mask: Tensor | None = None) -> Tensor:
        """Visual tokens [M, P, Dv] -> [M, Q, De]; the queries look for what the text of their image says.

        ``query_ids`` int64 [M, T] is right-padded, ``query_mask`` bool [M, T] is true where a token stands (None: everywhere);
        without ids there is no text (BLIP-2). ValueError for another number of texts than images, or T beyond
        ``max_positions``.
        """
        queries = self.query_tokens.expand(len(features), -1, -1)
        if query_ids is not None:
            self._check(query_ids, len(features))
        if not len(features):  # the Q-Former's own reshapes need an image
            return self._nothing(features, query_ids) if torch.is_grad_enabled() else self.language_projection(queries)
        mask = None
        if query_ids is not None and query_mask is not None:
            mask = torch.cat([query_mask.new_ones(queries.shape[:2]), query_mask], dim=1)
        states = self.qformer(
            input_ids=query_ids,
            attention_mask=mask,
            query_embeds=queries,
            encoder_hidden_states=features.to(queries.dtype),
        ).last_hidden_state
        return self.language_projection(states[:, : self.config.queries])

    def _nothing(self, features: Tensor, query_ids: Tensor | None) -> Tensor:
        """No rows, by way of a blank image: where weights are sharded every process must compute with each of them."""
        words = None if query_ids is None else query_ids.new_zeros(1, 1)
        return self(features.new_zeros(1, *features.shape[1:]), words)[:0]

    def _check(self, query_ids: Tensor, images: int) -> None:
        texts, length = query_ids.shape
        if texts != images:
            raise ValueError(f"expected one query text for each image, got {texts} texts for {images} images")
        if length > self.config.max_positions:
            raise ValueError(
                f"a query text has {length} tokens, the Query-Former has {self.config.max_positions} positions"
            )
