"""How many parameters each box of a model has, from its configuration alone: no weights are read or made.

The boxes are those of the paper's figure, under the names that ``mentor info`` and the model card use.
"""

from __future__ import annotations

import torch
from torch import nn

from mentor.config.model import ImageTokenizerConfig, MentorConfig
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor


def count_parameters(config: MentorConfig) -> dict[str, int]:
    """Parameters of each box that the model has, left to right; a frozen null condition is a buffer and not among them.

    ValueError for a configuration that no model can be built from.
    """
    with torch.device("meta"):
        mentor = Mentor(config)
    boxes = {
        "vision_tower": mentor.encoder.vision,
        "connector": mentor.encoder.connector,
        "language_encoder": mentor.encoder.language,
        "projector": mentor.projector,
        "decoder": mentor.decoder,
    }
    sizes = {name: _count(module) for name, module in boxes.items() if module is not None}
    if isinstance(mentor.null_condition, nn.Parameter):
        sizes["null_condition"] = mentor.null_condition.numel()
    return sizes


def count_image_tokenizer(config: ImageTokenizerConfig) -> int:
    """Parameters of the image tokenizer, which is trained apart and not counted in the model's."""
    with torch.device("meta"):
        return _count(ImageTokenizer(config))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
