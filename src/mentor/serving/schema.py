"""What requests may say, in the form of OpenAI's image API, with this model's own settings beside it.

A parameter that this model cannot follow is refused, not left out: who asks for transparency should not get white.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mentor.config.sampling import LARGEST_SEED
from mentor.generation.prompting import TASKS

LONGEST_PROMPT = 10_000
"""Characters; far beyond any model's context, and short enough to be counted in tokens at once."""
LONGEST_NAME = 200
MOST_IMAGES = 32
"""Reference images of one request, whatever the model could read."""


class ImageRequest(BaseModel):
    """The parameters of both kinds of request."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field("", max_length=LONGEST_PROMPT, description="What to show.")
    model: str | None = Field(None, max_length=LONGEST_NAME, description="The server's model, or nothing.")
    n: int = Field(1, ge=1, description="Pictures; picture i is drawn with seed + i.")
    size: str = Field("auto", max_length=LONGEST_NAME, description='"auto", or the model\'s own size.')
    stream: bool = Field(False, description="Server-sent events, a picture as soon as it is there.")
    partial_images: int = Field(0, ge=0, le=16, description="With stream: how often each picture is shown unfinished.")
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="None: any; the answer tells which.")
    cfg_scale: float | None = Field(None, description="Guidance: 1 off, more follows the prompt more closely.")
    temperature: float | None = Field(None, description="0: always the likeliest token.")
    top_k: int | None = Field(None, le=2**31 - 1, description="Draw from the K likeliest tokens; 0: all.")
    top_p: float | None = Field(None, description="Draw from the likeliest tokens of this total probability.")
    user: str | None = Field(None, max_length=LONGEST_NAME, description="Accepted and not used.")
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"
    background: Literal["auto", "opaque"] = "auto"
    quality: Literal["auto", "standard"] = "auto"
    moderation: Literal["auto", "low"] = Field("auto", description="There is none.")

    @model_validator(mode="before")
    @classmethod
    def _null_is_nothing(cls, given: Any) -> Any:
        """OpenAI's API takes null for whatever may be left out."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None or name not in cls.model_fields}

    def sampling(self) -> dict[str, Any]:
        """The sampling settings for ``MentorPipeline.settings``; None: the model's own."""
        return {name: getattr(self, name) for name in ("cfg_scale", "temperature", "top_k", "top_p")}


class GenerationRequest(ImageRequest):
    """Text alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(min_length=1, max_length=LONGEST_PROMPT, description="What to show.")


class EditRequest(ImageRequest):
    """Text and reference images."""

    subject: list[Annotated[str, Field(max_length=LONGEST_NAME)]] = Field(
        default=[], max_length=MOST_IMAGES, description="What matters in each image, in the images' order."
    )
    task: Literal[TASKS] | None = Field(None, description="None: by what is given.")  # type: ignore[valid-type]


class Picture(BaseModel):
    """One finished picture."""

    b64_json: str = Field(description="A PNG, which remembers prompt, seed and settings (`mentor info`).")
    seed: int


class Usage(BaseModel):
    """Tokens, as OpenAI counts them."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    total_tokens: int


class ImagesResponse(BaseModel):
    """The answer to a request that did not ask for a stream."""

    created: int = Field(description="Seconds since 1970.")
    model: str
    data: list[Picture]
    usage: Usage
    size: str
    output_format: str
    background: str
    quality: str
