"""What an operator sets: how much a server takes at once, and who may ask."""

from __future__ import annotations

from dataclasses import dataclass

SEND_SECONDS = 60
"""How long a part of an answer may stay unread: it, and what comes after it, waits in memory."""


@dataclass(frozen=True)
class ServeSettings:
    """Limits of one server. Raises ``ValueError`` for a number outside its range."""

    name: str = "mini"
    """What the model is called in requests and answers."""
    model: str = ""
    """What pictures remember as their model, adapters and all; empty: ``name``."""
    max_batch: int = 8
    """Pictures drawn side by side; bounds the memory."""
    max_wait: float = 0.02
    """Seconds that the first picture of a batch waits for others."""
    max_queue: int = 64
    """Pictures that may wait; a request beyond it is refused (429) instead of waiting for minutes."""
    max_images: int = 10
    """Pictures in one request."""
    max_upload: int = 32 * 2**20
    """Bytes of one request, reference images and all."""
    api_key: str = ""
    """What requests to /v1 and /metrics must bear (``Authorization: Bearer ...``); empty: everyone may ask."""
    hosts: tuple[str, ...] = ()
    """Names under which it may be asked (the Host header, without a port); empty: any."""

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_queue", "max_images", "max_upload"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')}: expected 1 or more, got {getattr(self, name)}")
        if not 0 <= self.max_wait <= 60:
            raise ValueError(f"max-wait: expected 0 to 60 seconds, got {self.max_wait}")
        if self.max_images > self.max_queue:
            raise ValueError(f"max-images: expected at most max-queue ({self.max_queue}), got {self.max_images}")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable() and " " not in self.api_key):
            raise ValueError("api-key: expected printable ASCII without spaces, as HTTP headers carry")
