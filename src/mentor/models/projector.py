"""The projector: two linear layers from the multimodal encoder's states to the decoder's prefix (paper 2.1, appendix B).

Shape letters: B batch, S condition tokens, D decoder width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mentor.config.model import ProjectorConfig


class Projector(nn.Module):
    """Linear, activation, Linear: [B, S, in_width] -> [B, S, D].

    Without biases (the released model) a zero row stays zero, so padding needs no mask here.
    """

    def __init__(self, config: ProjectorConfig, in_width: int, out_width: int) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden or out_width
        self.fc1 = nn.Linear(in_width, hidden, bias=config.bias)
        self.fc2 = nn.Linear(hidden, out_width, bias=config.bias)

    def forward(self, states: Tensor) -> Tensor:
        hidden = self.fc1(states)
        return self.fc2(F.silu(hidden) if self.config.activation == "silu" else F.gelu(hidden, approximate="tanh"))
