"""``/v1/images``: from a request to its pictures, at once or one event at a time."""

from __future__ import annotations

import base64
import contextlib
import secrets
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from mentor.config.sampling import LARGEST_SEED
from mentor.generation.pipeline import MentorPipeline
from mentor.generation.png_metadata import how_made, png_bytes
from mentor.generation.prompting import build_prompt
from mentor.prompt import Prompt
from mentor.serving import jobs
from mentor.serving.errors import ApiError, users_mistakes
from mentor.serving.events import EventStream, server_sent, until_the_last
from mentor.serving.jobs import Done, Partial
from mentor.serving.mailbox import Mailbox
from mentor.serving.queue import DrawingQueue
from mentor.serving.schema import EditRequest, GenerationRequest, ImageRequest, ImagesResponse
from mentor.serving.settings import ServeSettings
from mentor.serving.uploads import Readers, read_edit

ANY_SEED = 2**32
"""Seeds that nobody chose lie below, where JavaScript still counts exactly."""

router = APIRouter(prefix="/v1/images")


@dataclass(frozen=True)
class Service:
    """What a request needs of its server."""

    pipeline: MentorPipeline
    queue: DrawingQueue
    settings: ServeSettings
    readers: Readers

    @property
    def size(self) -> str:
        """How large the model's pictures are, as OpenAI writes it."""
        return f"{self.pipeline.config.image_size}x{self.pipeline.config.image_size}"


def service(request: Request) -> Service:
    """The one of the app that the request came to."""
    found: Service = request.app.state.service
    return found


Served = Annotated[Service, Depends(service)]


@router.post("/generations", response_model=ImagesResponse)
async def generate(body: GenerationRequest, http: Request, served: Served) -> Response:
    """Pictures from a text."""
    with users_mistakes("prompt"):
        prompt = build_prompt(body.prompt)
    return await _answer(body, prompt, [], http, served)


_EDIT_FORM = EditRequest.model_json_schema()
_EDIT_FORM["properties"]["image"] = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "Reference images, as `image` or `image[]`, one or several times.",
}


@router.post(
    "/edits",
    response_model=ImagesResponse,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _EDIT_FORM}}}},
)
async def edit(http: Request, served: Served) -> Response:
    """Pictures from a text and reference images: a new picture of what they show, a reconstruction or a segmentation."""
    served.queue.check_room()  # before pictures are sent for nothing
    body, prompt, references = await read_edit(http, served.pipeline, served.readers)
    return await _answer(body, prompt, references, http, served)


async def _answer(
    body: ImageRequest, prompt: Prompt, references: list[dict[str, str]], http: Request, served: Service
) -> Response:
    request, events = _submit(body, prompt, served)
    arriving = until_the_last(events, request, http)
    if body.stream:
        kind = "image_generation" if isinstance(body, GenerationRequest) else "image_edit"
        return EventStream(request, server_sent(kind, arriving, partial(_described, request, references, served)))
    pictures: dict[int, str] = {}
    async with contextlib.aclosing(arriving):
        async for event in arriving:
            if isinstance(event, Done):
                pictures[event.index] = await run_in_threadpool(_png, request, references, served, event)
    data = [{"b64_json": pictures[index], "seed": seed} for index, seed in enumerate(request.seeds)]
    usage = _usage(prompt, len(data), served)
    return JSONResponse(
        {"created": int(time.time()), "model": served.settings.name, "data": data, "usage": usage, **_form(served)}
    )


def _submit(body: ImageRequest, prompt: Prompt, served: Service) -> tuple[jobs.Request, Mailbox]:
    """Checks everything and joins the queue; ``ApiError`` and ``ValueError`` for mistakes, ``Busy`` where it is full."""
    limits, pipeline = served.settings, served.pipeline
    if body.model not in (None, limits.name):
        raise ApiError(404, f"no model {body.model!r} here, but {limits.name!r}", param="model", code="model_not_found")
    if body.n > limits.max_images:
        raise ApiError(400, f"n: expected 1 to {limits.max_images} pictures, got {body.n}", param="n")
    if body.size not in ("auto", served.size):
        raise ApiError(400, f"size: the model draws {served.size}, not {body.size!r}", param="size")
    if body.seed is not None and body.seed > LARGEST_SEED - body.n:
        raise ApiError(400, f"seed: expected at most {LARGEST_SEED - body.n}, got {body.seed}", param="seed")
    if body.partial_images and not body.stream:
        raise ApiError(400, "partial_images: only with stream", param="partial_images")
    with users_mistakes(among=body.sampling()):
        settings = pipeline.settings(**body.sampling())
    with users_mistakes("prompt"):
        pipeline.processor.check(prompt)
    first = secrets.randbelow(ANY_SEED) if body.seed is None else body.seed
    events = Mailbox()
    request = jobs.Request(
        prompt,
        range(first, first + body.n),
        settings,
        tell=events.put,
        partial_rows=_partial_rows(body.partial_images, pipeline.config.decoder.grid),
    )
    served.queue.submit(request)
    return request, events


def _partial_rows(count: int, grid: int) -> frozenset[int]:
    """After which rows of ``grid`` a picture is shown, so that all parts are about equally high."""
    return frozenset(round(grid * part / (count + 1)) for part in range(1, count + 1)) - {0, grid}


def _described(
    request: jobs.Request, references: list[dict[str, str]], served: Service, event: Done | Partial
) -> dict[str, Any]:
    """What a stream says of one picture."""
    body: dict[str, Any] = {
        "b64_json": _png(request, references, served, event),
        "created_at": int(time.time()),
        "index": event.index,
        "seed": request.seeds[event.index],
        **_form(served),
    }
    return body | ({"usage": _usage(request.prompt, 1, served)} if isinstance(event, Done) else {})


def _png(request: jobs.Request, references: list[dict[str, str]], served: Service, event: Done | Partial) -> str:
    """The picture as a PNG in base64; a finished one remembers how it was made."""
    seeds = [request.seeds[event.index]] if isinstance(event, Done) else []
    model, pipeline = served.settings.model or served.settings.name, served.pipeline
    made = how_made(
        model, request.prompt.text, references, request.settings, pipeline.dtype, pipeline.device.type, seeds
    )
    return base64.b64encode(png_bytes(event.image, made)).decode()


def _form(served: Service) -> dict[str, str]:
    return {"size": served.size, "output_format": "png", "background": "opaque", "quality": "auto"}


def _usage(prompt: Prompt, pictures: int, served: Service) -> dict[str, Any]:
    """Tokens read and written, as OpenAI counts them."""
    config = served.pipeline.config
    read, images = len(served.pipeline.processor.encode_text(prompt.text)), len(prompt.images) * config.tokens_per_image
    written = pictures * config.decoder.num_tokens
    return {
        "input_tokens": read,
        "input_tokens_details": {"image_tokens": images, "text_tokens": read - images},
        "output_tokens": written,
        "total_tokens": read + written,
    }
