"""Vision towers: frozen, shaped as configured, CLIP's equal to the library's own class."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mentor.config.model import VisionConfig
from mentor.config.presets import PRESETS
from mentor.models.vision import build_vision_tower

EFFICIENTNET = VisionConfig("efficientnet_lite0", image_size=64, layers=(3, 5), width=384 + 160, tokens_per_image=16)
CLIP = VisionConfig(
    kind="clip", image_size=32, layers=(-2,), width=16, tokens_per_image=4, hidden_size=16, num_layers=3, num_heads=2,
    mlp_width=32, patch_size=16,
)  # fmt: skip


@pytest.mark.parametrize("config", [EFFICIENTNET, CLIP, PRESETS["mini-64"].vision], ids=["lite0", "clip", "mini"])
def test_shapes_and_frozen(config):
    tower = build_vision_tower(config)
    features = tower.train()(torch.randn(2, 3, config.image_size, config.image_size, requires_grad=True))
    assert features.shape == (2, config.tokens_per_image, config.width)
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert not any(module.training for module in tower.modules())
    assert tower(torch.zeros(0, 3, config.image_size, config.image_size)).shape == (0, *features.shape[1:])


def test_the_maps_are_normed_and_joined_cell_by_cell():
    torch.manual_seed(0)
    tower = build_vision_tower(EFFICIENTNET)
    for norm in tower.norms:
        torch.nn.init.normal_(norm.mean)
        torch.nn.init.uniform_(norm.std, 0.5, 2)
    pixels = torch.randn(1, 3, 64, 64)
    early, late = tower.trunk(pixels, (3, 5))
    token = tower(pixels)[0, 6]  # row 1, column 2
    early = ((early[0] - tower.norms[0].mean[:, None, None]) / tower.norms[0].std[:, None, None])[:, 4:8, 8:12]
    late = ((late[0] - tower.norms[1].mean[:, None, None]) / tower.norms[1].std[:, None, None])[:, 2:4, 4:6]
    torch.testing.assert_close(token, torch.cat([early.flatten(), late.flatten()]))


def test_a_picture_is_read_the_same_alone_and_in_a_batch():
    torch.manual_seed(0)
    tower = build_vision_tower(EFFICIENTNET)
    pixels = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(tower(pixels)[1:2], tower(pixels[1:2]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dataclasses.replace(EFFICIENTNET, width=100), "set vision.width=544"),
        (dataclasses.replace(CLIP, width=12), "4 tokens of width 16"),
        (dataclasses.replace(CLIP, layers=(-2, -3)), "one hidden state"),
        (dataclasses.replace(CLIP, kind="resnet"), "unknown vision.kind"),
    ],
)
def test_contradictions_are_refused(config, message):
    with pytest.raises(ValueError, match=message):
        build_vision_tower(config)


def test_pixels_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 64, 64\), got \(1, 3, 32, 32\)"):
        build_vision_tower(EFFICIENTNET)(torch.zeros(1, 3, 32, 32))
