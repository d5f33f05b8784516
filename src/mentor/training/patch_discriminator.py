"""The optional adversarial term of the image tokenizer: a patch discriminator with the hinge loss (VQGAN, Esser et al. 2021).

B batch, R picture side, h x w patches.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class PatchDiscriminator(nn.Sequential):
    """Pixels [B, 3, R, R] in [-1, 1] -> one score for each patch [B, 1, R/8, R/8]; higher means more like a real picture."""

    def __init__(self, width: int = 64) -> None:
        channels = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Conv2d(channels[-1], 1, 3, padding=1))


def adversarial_losses(discriminator: nn.Module, reconstruction: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """(loss of the tokenizer, hinge loss of the discriminator), both scalars of one backward pass.

    The first reaches the reconstruction but not the discriminator, whose weights are held constant; the second reaches the
    discriminator but not the reconstruction. So one optimiser can follow their sum.
    """
    constant = {name: parameter.detach() for name, parameter in discriminator.named_parameters()}
    fooling = -functional_call(discriminator, constant, (reconstruction,)).float().mean()
    real, fake = discriminator(pixels).float(), discriminator(reconstruction.detach()).float()
    return fooling, (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
