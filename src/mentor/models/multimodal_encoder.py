"""The multimodal encoder (paper 2.2): interleaved text and images become one sequence of states.

Shapes: B batch, S condition tokens, M images of all prompts in row-major order, P visual tokens an image, Dv their width,
De width of the language encoder.
"""

from __future__ import annotations

from torch import Tensor, nn

from mentor.config.model import ConnectorConfig, LanguageConfig, VisionConfig
from mentor.models.connector import MLPConnector
from mentor.models.language import build_language_encoder
from mentor.models.vision import build_vision_tower


class MultimodalEncoder(nn.Module):
    """Vision tower -> connector -> splice into the language encoder's embeddings -> language encoder."""

    def __init__(self, vision: VisionConfig, language: LanguageConfig, connector: ConnectorConfig) -> None:
        super().__init__()
        self.image_token_id = language.image_token_id
        self.vision = build_vision_tower(vision)
        self.connector = MLPConnector(connector, vision.width, language.width)
        self.language = build_language_encoder(language)

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Pixels [M, 3, R, R] -> features [M, P, Dv], without gradients: they can be computed once and stored."""
        return self.vision(pixel_values)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, features: Tensor) -> Tensor:
        """Right-padded ids int64 [B, S], mask bool [B, S] and features [M, P, Dv] -> states [B, S, De].

        The visual tokens replace the embeddings at the placeholder positions in row-major order; ValueError when there are
        not as many of them as placeholders.
        """
        visual = self.connector(features.to(self.connector.fc1.weight.dtype))
        embeds = splice(self.language.embed(input_ids), visual, input_ids == self.image_token_id)
        return self.language(embeds, attention_mask)


def splice(embeds: Tensor, visual: Tensor, where: Tensor) -> Tensor:
    """Embeddings [B, S, De] with those at ``where`` (bool [B, S]) replaced by visual tokens [M, P, De], in order.

    ValueError when the counts differ: scattering anyway would give one prompt the image of another.
    """
    placeholders, tokens = int(where.sum()), visual.shape[0] * visual.shape[1]
    if placeholders != tokens:
        raise ValueError(
            f"the prompts have {placeholders} image placeholders, but {visual.shape[0]} images of {visual.shape[1]} visual "
            f"tokens make {tokens}; give one <image> in the text for each image"
        )
    return embeds.masked_scatter(where.unsqueeze(-1), visual.to(embeds.dtype))
