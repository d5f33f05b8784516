"""The connector (paper 2.2): visual tokens into the language encoder's embedding space.

Shapes: M images, P visual tokens an image, Dv their width, De width of the language encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from mentor.config.model import ConnectorConfig
from mentor.models.query_former import QueryFormerConnector

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_new": partial(nn.GELU, approximate="tanh"),
    "silu": nn.SiLU,
}


class MLPConnector(nn.Module):
    """Two linear layers with biases and an activation between them: an image stays as many tokens as it was."""

    def __init__(self, config: ConnectorConfig, in_width: int, out_width: int) -> None:
        super().__init__()
        if config.activation not in ACTIVATIONS:
            raise ValueError(f"unknown connector.activation {config.activation!r}; known: {', '.join(ACTIVATIONS)}")
        hidden = config.hidden or out_width
        self.fc1 = nn.Linear(in_width, hidden)
        self.activation = ACTIVATIONS[config.activation]()
        self.fc2 = nn.Linear(hidden, out_width)

    @property
    def output(self) -> nn.Linear:
        """The last layer."""
        return self.fc2

    def forward(self, features: Tensor, query_ids: Tensor | None = None, query_mask: Tensor | None = None) -> Tensor:
        """Visual tokens [..., Dv] -> [..., De]; the query text is for connectors that choose, this one keeps everything."""
        return self.fc2(self.activation(self.fc1(features.to(self.fc1.weight.dtype))))


def build_connector(config: ConnectorConfig, in_width: int, out_width: int) -> MLPConnector | QueryFormerConnector:
    """A randomly initialised connector of the configured kind from width Dv to De; ValueError for an unknown kind."""
    if config.kind == "mlp":
        return MLPConnector(config, in_width, out_width)
    if config.kind == "query_former":
        return QueryFormerConnector(config, in_width, out_width)
    raise ValueError(f"unknown connector.kind {config.kind!r}; known: mlp, query_former")
