"""Reference images that are sent: from a multipart form to a checked prompt, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mentor.data.images import decode_image
from mentor.generation.pipeline import MentorPipeline
from mentor.generation.prompting import build_prompt
from mentor.prompt import Prompt
from mentor.serving.errors import ApiError, users_mistakes
from mentor.serving.jobs import Busy
from mentor.serving.schema import MOST_IMAGES, EditRequest

MOST_PIXELS = 50_000_000
"""Of one reference image: unpacked, such a one takes up to a gigabyte for a moment, from a file of some kilobytes."""
MOST_FIELDS, LONGEST_FIELD = 64, 64 * 2**10
PATIENCE = 120.0
"""Seconds that a request may take to arrive: one that trickles keeps others out in the end."""

Reference = dict[str, str]
"""``file`` and ``sha256`` of a reference image, for what a picture remembers."""


class _Parser(MultiPartParser):
    """Starlette's, but only small files stay in memory: many may come at once."""

    spool_max_size = LONGEST_FIELD


class Readers:
    """Lets ``MOST`` requests send their pictures at a time, and one of them be unpacked.

    Sending costs little, so there is room for many that are slow, by bad luck or on purpose.
    """

    MOST = 128

    def __init__(self) -> None:
        self._inside = 0
        self._unpacking = asyncio.Lock()

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[asyncio.Lock]:
        """Within, files may come (they lie on disk), and be unpacked under the lock. Raises ``Busy`` for one too many."""
        if self._inside >= self.MOST:
            raise Busy(f"{self._inside} requests send pictures already", 2)
        self._inside += 1
        try:
            yield self._unpacking
        finally:
            self._inside -= 1


async def read_edit(
    http: Request, pipeline: MentorPipeline, readers: Readers
) -> tuple[EditRequest, Prompt, list[Reference]]:
    """The parameters, the prompt and the references of a form; of the pictures only what the model looks at is kept.

    Raises ``ApiError`` and ``ValidationError`` for mistakes, ``Busy`` where too many send pictures at once.
    """
    if not http.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError(400, "expected multipart/form-data with at least one file named image")
    async with readers.admitted() as unpacking, contextlib.AsyncExitStack() as opened:
        try:
            async with asyncio.timeout(PATIENCE):
                form = await _Parser(
                    http.headers,
                    http.stream(),
                    max_files=MOST_IMAGES,
                    max_fields=MOST_FIELDS,
                    max_part_size=LONGEST_FIELD,
                ).parse()
            opened.push_async_callback(form.close)
        except MultiPartException as error:
            raise ApiError(400, error.message) from error
        except TimeoutError as error:
            raise ApiError(408, f"the request did not arrive within {PATIENCE:g} s") from error
        body = EditRequest.model_validate(_fields(form))
        uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        _check_count(len(uploads), pipeline)
        async with unpacking:
            prompt, references = await run_in_threadpool(_prompt, body, uploads, pipeline)
    return body, prompt, references


def _fields(form: FormData) -> dict[str, Any]:
    """The form's values; ``name[]`` is the same as ``name``, as clients write lists."""
    fields: dict[str, Any] = {}
    for key, value in form.multi_items():
        name = key.removesuffix("[]")
        if isinstance(value, UploadFile) != (name == "image"):
            raise ApiError(400, f"unexpected {'file' if isinstance(value, UploadFile) else 'text'} '{key}'", param=name)
        if name == "subject":
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise ApiError(400, f"'{name}' comes twice", param=name)
        elif name != "image":
            fields[name] = value
    return fields


def _check_count(images: int, pipeline: MentorPipeline) -> None:
    config = pipeline.config
    if not images:
        raise ApiError(400, "no picture came: send at least one file named image", param="image")
    if config.vision is None:
        raise ApiError(400, f"the model {config.name} reads text only: use /v1/images/generations")
    if images * config.tokens_per_image > config.context:
        most = config.context // config.tokens_per_image
        raise ApiError(400, f"expected at most {most} images, got {images}", param="image")


def _prompt(
    body: EditRequest, uploads: Sequence[UploadFile], pipeline: MentorPipeline
) -> tuple[Prompt, list[Reference]]:
    pictures, references = [], []
    for upload in uploads:
        name, data = upload.filename or "image", upload.file.read()
        with users_mistakes("image", name):
            pictures.append(pipeline.processor.square(decode_image(data, most_pixels=MOST_PIXELS)))
        references.append({"file": name, "sha256": hashlib.sha256(data).hexdigest()})
    subjects = [subject for subject in body.subject if subject.strip()]
    with users_mistakes():
        return build_prompt(body.prompt, pictures, task=body.task, subject=subjects or None), references
