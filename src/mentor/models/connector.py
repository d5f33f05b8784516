"""The connector (paper 2.2): visual tokens into the language encoder's embedding space."""

from __future__ import annotations

from torch import Tensor, nn

from mentor.config.model import ConnectorConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "silu": nn.SiLU}


class MLPConnector(nn.Module):
    """Two linear layers with biases and an activation (erf GELU) between them."""

    def __init__(self, config: ConnectorConfig, in_width: int, out_width: int) -> None:
        super().__init__()
        if config.activation not in ACTIVATIONS:
            raise ValueError(f"unknown connector.activation {config.activation!r}; known: {', '.join(ACTIVATIONS)}")
        hidden = config.hidden or out_width
        self.fc1 = nn.Linear(in_width, hidden)
        self.activation = ACTIVATIONS[config.activation]()
        self.fc2 = nn.Linear(hidden, out_width)

    def forward(self, features: Tensor) -> Tensor:
        """Visual tokens [..., Dv] -> [..., De]."""
        return self.fc2(self.activation(self.fc1(features)))
