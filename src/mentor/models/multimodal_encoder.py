"""The multimodal encoder (paper 2.2): interleaved text and images become one sequence of states.

Shapes: B batch, S condition tokens, M images of all prompts in row-major order, P visual tokens an image, Dv their width,
N condition tokens an image, T tokens of a query text, De width of the language encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mentor.config.model import ConnectorConfig, LanguageConfig, VisionConfig
from mentor.models.connector import build_connector
from mentor.models.language import build_language_encoder
from mentor.models.vision import build_vision_tower


class MultimodalEncoder(nn.Module):
    """Vision tower -> connector -> splice into the language encoder's embeddings -> language encoder.

    ``vision`` and ``connector`` are None in a model that reads text only.
    """

    def __init__(
        self, vision: VisionConfig | None, language: LanguageConfig, connector: ConnectorConfig | None
    ) -> None:
        super().__init__()
        assert (vision is None) == (connector is None), (vision, connector)
        self.image_token_id = language.image_token_id
        self.vision = None if vision is None else build_vision_tower(vision)
        self.connector = (
            None if vision is None or connector is None else build_connector(connector, vision.width, language.width)
        )
        self.language = build_language_encoder(language)

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Pixels [M, 3, R, R] -> features [M, P, Dv], without gradients: they can be computed once and stored.

        Without a vision tower there is nothing to encode: [0, 0, 0], and ValueError when images are given all the same.
        """
        if self.vision is None:
            self._refuse(len(pixel_values))
            return pixel_values.new_zeros(0, 0, 0)
        return self.vision(pixel_values)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        features: Tensor,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        """Right-padded ids int64 [B, S], mask bool [B, S] and features [M, P, Dv] -> states [B, S, De].

        ``query_ids`` int64 [M, T] and ``query_mask`` bool [M, T] tell a Query-Former what to look for in each image. What the
        connector makes, [M, N, De], replaces the embeddings at the placeholder positions in row-major order; ValueError when
        there are not as many tokens as placeholders.
        """
        return self.language(self._embeds(input_ids, features, query_ids, query_mask), attention_mask)

    def forward_packed(
        self,
        input_ids: Tensor,
        lengths: Sequence[int],
        features: Tensor,
        query_ids: Tensor | None = None,
        query_mask: Tensor | None = None,
    ) -> Tensor:
        """The same without padding: ids int64 [N] of prompts of these lengths, one after the other -> states [N, De]."""
        return self.language.forward_packed(self._embeds(input_ids, features, query_ids, query_mask), lengths)

    def _embeds(
        self, input_ids: Tensor, features: Tensor, query_ids: Tensor | None, query_mask: Tensor | None
    ) -> Tensor:
        if self.connector is None:
            self._refuse(len(features))
            visual = features
        else:
            visual = self.connector(features, query_ids, query_mask)
        return splice(self.language.embed(input_ids), visual, input_ids == self.image_token_id)

    @staticmethod
    def _refuse(images: int) -> None:
        if images:
            raise ValueError(f"this model reads text only, but got {images} image(s)")


def splice(embeds: Tensor, visual: Tensor, where: Tensor) -> Tensor:
    """Embeddings [..., De] with those at ``where`` (bool [...]) replaced by visual tokens [M, N, De], in order.

    ValueError when the counts differ: scattering anyway would give one prompt the image of another.
    """
    placeholders, tokens = int(where.sum()), visual.shape[0] * visual.shape[1]
    if placeholders != tokens:
        raise ValueError(
            f"the prompts have {placeholders} image placeholders, but {visual.shape[0]} images of {visual.shape[1]} visual "
            f"tokens make {tokens}; give one <image> in the text for each image"
        )
    return embeds.masked_scatter(where.unsqueeze(-1), visual.to(embeds.dtype))
