"""Images from interleaved text and reference images, with an autoregressive transformer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mentor.config.model import MentorConfig
    from mentor.config.sampling import GenerationSettings
    from mentor.generation.pipeline import MentorPipeline, PipelineOutput
    from mentor.generation.prompting import build_prompt
    from mentor.models.mentor import Mentor
    from mentor.prompt import Prompt

__version__ = "0.1.0"
__all__ = [
    "GenerationSettings",
    "Mentor",
    "MentorConfig",
    "MentorPipeline",
    "PipelineOutput",
    "Prompt",
    "__version__",
    "build_prompt",
]

# Imported at first use (PEP 562), so that `import mentor` and `mentor --help` do not wait for torch.
_HOMES = {
    "GenerationSettings": "mentor.config.sampling",
    "Mentor": "mentor.models.mentor",
    "MentorConfig": "mentor.config.model",
    "MentorPipeline": "mentor.generation.pipeline",
    "PipelineOutput": "mentor.generation.pipeline",
    "Prompt": "mentor.prompt",
    "build_prompt": "mentor.generation.prompting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
