from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mentor.config.model import ProjectorConfig
from mentor.models.projector import Projector


def test_two_layers_with_the_configured_activation():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6)
    for activation, function in (("silu", F.silu), ("gelu_tanh", lambda h: F.gelu(h, approximate="tanh"))):
        projector = Projector(ProjectorConfig(hidden=5, activation=activation, bias=True), 6, 4)
        expected = projector.fc2.weight @ function(projector.fc1(x)).mT + projector.fc2.bias[:, None]
        torch.testing.assert_close(projector(x), expected.mT)


def test_zero_rows_stay_zero_without_biases():
    projector = Projector(ProjectorConfig(), 6, 4)
    assert projector.fc1.weight.shape == (4, 6)
    assert torch.equal(projector(torch.zeros(1, 2, 6)), torch.zeros(1, 2, 4))


@pytest.mark.parametrize("bias", [False, True])
def test_parameters(bias):
    projector = Projector(ProjectorConfig(hidden=5, bias=bias), 6, 4)
    assert sum(parameter.numel() for parameter in projector.parameters()) == 6 * 5 + 5 * 4 + (5 + 4 if bias else 0)
