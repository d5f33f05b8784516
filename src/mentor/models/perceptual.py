"""ST-LPIPS: a learned perceptual distance that forgives small shifts (Ghildyal and Liu, ECCV 2022; AlexNet-like trunk).

It is not the LPIPS of Zhang et al.: report it as "ST-LPIPS". The weights are an asset of the package; where they come from is
written in the assets' NOTICE.md and in ``mentor.construction.perceptual_weights``.

B batch, R picture side, C channels.
"""

from __future__ import annotations

from importlib.resources import files

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

WEIGHTS = "stlpips_alex.safetensors"
_WIDTHS = (64, 192, 384, 256, 256)
# The usual ImageNet statistics, expressed for pixels in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


def _blur_halve(x: Tensor) -> Tensor:
    """Binomial [1, 2, 1] blur and stride 2 after 2 reflected rows and columns: two 2x2 means make that filter."""
    return F.avg_pool2d(F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), 2, stride=1), 2, stride=2)


def _pool(x: Tensor) -> Tensor:
    return _blur_halve(F.max_pool2d(x, 3, stride=1))


class STLPIPS(nn.Module):
    """Distance of picture pairs: [B, 3, R, R] twice, in [-1, 1], -> float32 [B], 0 for equal pictures; R at least 32."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 11, padding=2)
        self.conv2 = nn.Conv2d(64, 192, 5, padding=2)
        self.conv3 = nn.Conv2d(192, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 256, 3, padding=1)
        self.conv5 = nn.Conv2d(256, 256, 3, padding=1)
        self.heads = nn.ParameterList(torch.empty(width) for width in _WIDTHS)
        self.load_state_dict(load((files("mentor") / "assets" / WEIGHTS).read_bytes()))
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, x: Tensor) -> list[Tensor]:
        """The five maps [B, C, h, w] of pixels [B, 3, R, R] in [-1, 1]; ValueError for pictures under 32 pixels."""
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 32:
            raise ValueError(f"expected pixels [B, 3, R, R] with R at least 32, got {tuple(x.shape)}")
        x = ((x - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        first = F.relu(_blur_halve(self.conv1(x)))
        second = F.relu(self.conv2(_pool(first)))
        third = F.relu(self.conv3(_pool(second)))
        fourth = F.relu(self.conv4(third))
        return [first, second, third, fourth, F.relu(self.conv5(fourth))]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Distance float32 [B] of two lists of features: weighted squared difference of unit vectors, averaged over the map."""
        total = torch.zeros(a[0].shape[0], device=a[0].device)
        for head, left, right in zip(self.heads, a, b, strict=True):
            difference = (_unit(left) - _unit(right)).square()
            total = total + difference.mean(dim=(2, 3)) @ head.float()
        return total

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if a.shape != b.shape:
            raise ValueError(f"expected two batches of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
        return self.distance(self.features(a), self.features(b))


def _unit(x: Tensor) -> Tensor:
    x = x.float()
    # The small number under the root keeps the gradient finite where every channel is 0.
    return x / (x.square().sum(dim=1, keepdim=True) + 1e-20).sqrt()
