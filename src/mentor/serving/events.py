"""A request's events on their way to whoever asked: awaited up to the last picture, and sent one by one."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from mentor.serving import jobs
from mentor.serving.errors import GONE, ApiError, as_api_error
from mentor.serving.jobs import Done, Failed, Partial
from mentor.serving.mailbox import Mailbox

LOOK_SECONDS = 1.0
"""How often the server looks whether whoever asked is still there."""
BEAT = 15
"""After so many looks without an event a stream says that it waits."""

log = logging.getLogger(__name__)


async def until_the_last(
    events: Mailbox, request: jobs.Request, http: Request
) -> AsyncGenerator[Done | Partial | None, None]:
    """A request's events up to its last picture; None where ``LOOK_SECONDS`` went by without one.

    Raises ``ApiError`` when drawing failed or whoever asked has gone; either way the request is over.
    """
    left = len(request.seeds)
    try:
        while left:
            event = await events.next(LOOK_SECONDS)
            if event is None and await http.is_disconnected():
                raise ApiError(499, GONE)
            if isinstance(event, Failed):
                raise as_api_error(event.error) from event.error
            left -= isinstance(event, Done)
            yield event
    finally:
        request.cancelled.set()
        events.close()


class EventStream(StreamingResponse):
    """Server-sent events; when they end, for whatever reason and even before they began, the request is over."""

    def __init__(self, request: jobs.Request, content: AsyncGenerator[str, None]) -> None:
        # The first header keeps nginx from collecting them.
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._request, self._content = request, content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with contextlib.suppress(ClientDisconnect):
                await super().__call__(scope, receive, send)
        finally:
            self._request.cancelled.set()
            await self._content.aclose()  # Starlette leaves it, and all it holds, to the garbage collector


async def server_sent(
    kind: str,
    arriving: AsyncGenerator[Done | Partial | None, None],
    describe: Callable[[Done | Partial], Mapping[str, Any]],
) -> AsyncGenerator[str, None]:
    """The text of a stream: an event for each unfinished and each finished picture, with what ``describe`` says of it."""
    shown = Counter[int]()
    quiet = 0
    try:
        async with contextlib.aclosing(arriving):
            async for event in arriving:
                quiet = quiet + 1 if event is None else 0
                if event is None:
                    if quiet % BEAT == 0:
                        yield ": waiting\n\n"  # proxies cut connections that are silent for a minute
                    continue
                body = dict(await run_in_threadpool(describe, event))
                if isinstance(event, Done):
                    yield _sse(f"{kind}.completed", body)
                else:
                    yield _sse(f"{kind}.partial_image", body | {"partial_image_index": shown[event.index]})
                    shown[event.index] += 1
    except ApiError as error:  # the answer has begun: what goes wrong now can only be told in it
        yield _sse("error", error.body())
    except Exception as error:  # whatever it is, whoever asked is told and the log keeps it
        log.exception("a stream broke off")
        yield _sse("error", as_api_error(error).body())


def _sse(kind: str, body: Mapping[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | dict(body))}\n\n"
