"""Images from interleaved text and reference images, with an autoregressive transformer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mentor.config.model import MentorConfig
    from mentor.generation.pipeline import MentorPipeline
    from mentor.models.mentor import Mentor
    from mentor.prompt import Prompt

__version__ = "0.1.0"
__all__ = ["Mentor", "MentorConfig", "MentorPipeline", "Prompt", "__version__"]

# Imported at first use (PEP 562), so that `import mentor` and `mentor --help` do not wait for torch.
_HOMES = {
    "Mentor": "mentor.models.mentor",
    "MentorConfig": "mentor.config.model",
    "MentorPipeline": "mentor.generation.pipeline",
    "Prompt": "mentor.prompt",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
