"""The frozen vision tower (paper 2.2): pictures become visual tokens.

Shapes: M images, R image side in pixels, P tokens an image, Dv width of a visual token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mentor.config.model import VisionConfig
from mentor.models.efficientnet_lite import EfficientNetLite0, map_shape, merge_cells, merged_width


class VisionTower(nn.Module, ABC):
    """What every tower is: frozen, always in evaluation mode, run without gradients."""

    def __init__(self, config: VisionConfig, trunk: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.trunk = trunk.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> VisionTower:
        """Stays in evaluation mode whatever ``mode`` says: the tower is frozen in both stages (paper 2.3)."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels [M, 3, R, R], normalised with the config's mean and std -> features [M, P, Dv] in the tower's number type.

        M may be 0.
        """
        config = self.config
        expected = (3, config.image_size, config.image_size)
        if tuple(pixel_values.shape[1:]) != expected:
            raise ValueError(
                f"the vision tower takes pixels [M, 3, R, R] with {expected}, got {tuple(pixel_values.shape)}"
            )
        pixel_values = pixel_values.to(next(self.trunk.parameters()).dtype)
        if not len(pixel_values):
            return pixel_values.new_zeros(0, config.tokens_per_image, config.width)
        return self.tokens(pixel_values)

    @abstractmethod
    def tokens(self, pixel_values: Tensor) -> Tensor:
        """Pixels [M, 3, R, R] with M > 0 -> features [M, P, Dv]."""


class ChannelNorm(nn.Module):
    """Brings each channel to mean 0 and deviation 1, by the statistics the trunk's own batch normalisations state."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map [M, C, h, h] -> the same shape."""
        return (feature_map - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)


class EfficientNetTower(VisionTower):
    """EfficientNet-Lite0 read at one or more depths, neighbouring cells merged to one token."""

    def __init__(self, config: VisionConfig) -> None:
        width = merged_width(config.layers, config.image_size, config.tokens_per_image)
        if width != config.width:
            raise ValueError(
                f"vision.width is {config.width}, but layers {config.layers} of a {config.image_size} px image merged to "
                f"{config.tokens_per_image} tokens are {width} wide; set vision.width={width}"
            )
        super().__init__(config, EfficientNetLite0(max(config.layers)))
        self.norms = nn.ModuleList(ChannelNorm(map_shape(layer, config.image_size)[0]) for layer in config.layers)
        self.grid = round(config.tokens_per_image**0.5)

    def tokens(self, pixel_values: Tensor) -> Tensor:
        maps = self.trunk(pixel_values, self.config.layers)
        normed = (norm(feature_map) for norm, feature_map in zip(self.norms, maps, strict=True))
        return torch.cat([merge_cells(feature_map, self.grid) for feature_map in normed], dim=-1)


class ClipTower(VisionTower):
    """CLIP's vision transformer: one hidden state's patches, without the class token (appendix B)."""

    def __init__(self, config: VisionConfig) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        if len(config.layers) != 1:
            raise ValueError(f"a CLIP tower reads one hidden state, got vision.layers={config.layers}")
        patches = (config.image_size // config.patch_size) ** 2
        if (patches, config.hidden_size) != (config.tokens_per_image, config.width):
            raise ValueError(
                f"CLIP with image_size {config.image_size} and patch_size {config.patch_size} gives {patches} tokens of "
                f"width {config.hidden_size}, the configuration says {config.tokens_per_image} of width {config.width}"
            )
        clip = CLIPVisionConfig(
            hidden_size=config.hidden_size,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
            hidden_act="quick_gelu",
        )
        super().__init__(config, CLIPVisionModel(clip))

    def tokens(self, pixel_values: Tensor) -> Tensor:
        states = self.trunk(pixel_values, output_hidden_states=True).hidden_states
        return states[self.config.layers[0]][:, 1:]


def build_vision_tower(config: VisionConfig) -> VisionTower:
    """A randomly initialised tower of the configured kind; its weights come from a bundle. ValueError: see the towers."""
    kinds = {"efficientnet_lite0": EfficientNetTower, "clip": ClipTower}
    if config.kind not in kinds:
        raise ValueError(f"unknown vision.kind {config.kind!r}; known: {', '.join(kinds)}")
    return kinds[config.kind](config)
