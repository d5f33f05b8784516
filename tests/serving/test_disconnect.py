"""Whoever asked has gone: nothing is drawn for nobody, and it is no failure of the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mentor import MentorPipeline
from mentor.serving import events, gate
from mentor.serving.app import create_app
from mentor.serving.jobs import Request
from mentor.serving.mailbox import Mailbox
from mentor.serving.settings import ServeSettings


class Line:
    """One connection: what the client sent, and what the server did with it."""

    def __init__(self, body: dict[str, Any] | bytes, path: str = "/v1/images/generations") -> None:
        self.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = b"application/json" if isinstance(body, dict) else b"multipart/form-data; boundary=x"
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(b"content-type", kind)],
            "http_version": "1.1",
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self.gone = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self.data, "more_body": self.gone.is_set()}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone.is_set():
            raise OSError("the connection is closed")
        self.sent.append(message)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """All requests that join a queue; none is ever drawn."""
    joined: list[Request] = []
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr("mentor.serving.queue.DrawingQueue.submit", lambda queue, request: joined.append(request))
    return joined


def served(pipeline: MentorPipeline, line: Callable[[], Line], then: Callable[[Line], Any]) -> tuple[Line, Any]:
    """Runs one connection through an app; ``then`` acts while it is open. Returns it and the app's metrics."""

    async def run() -> tuple[Line, Any]:
        app = create_app(pipeline, ServeSettings())
        async with app.router.lifespan_context(app):
            connection = line()
            call = asyncio.ensure_future(app(connection.scope, connection.receive, connection.send))
            await then(connection)
            assert (await asyncio.wait({call}, timeout=20))[0]
            with suppress(OSError):
                call.result()
            return connection, app.state.service.queue.metrics.registry

    return asyncio.run(run())


async def leave(line: Line, requests: list[Request], sent: int = 0) -> None:
    """Goes when the request has joined the queue and so many messages have come."""
    for _ in range(2000):
        if requests and len(line.sent) >= sent:
            break
        await asyncio.sleep(0.01)
    line.gone.set()


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_over_when_its_asker_leaves(
    pipeline: MentorPipeline, requests: list[Request], stream: bool
) -> None:
    served(pipeline, lambda: Line({"prompt": "fox", "stream": stream}), lambda line: leave(line, requests))
    (request,) = requests
    assert request.cancelled.is_set()


def test_a_stream_that_never_began_is_over_too(pipeline: MentorPipeline, requests: list[Request]) -> None:
    async def at_once(line: Line) -> None:
        line.gone.set()

    def line() -> Line:
        made = Line({"prompt": "fox", "stream": True})
        made.receive = _whole(made)  # type: ignore[method-assign]
        return made

    served(pipeline, line, at_once)
    (request,) = requests
    assert request.cancelled.is_set()


def _whole(line: Line) -> Any:
    """The body arrives although the reader of the answer has gone."""

    async def receive() -> dict[str, Any]:
        if not line._asked:
            line._asked = True
            return {"type": "http.request", "body": line.data, "more_body": False}
        return {"type": "http.disconnect"}

    return receive


def test_an_upload_that_breaks_off_is_no_failure(pipeline: MentorPipeline) -> None:
    async def nothing(line: Line) -> None:
        return None

    def line() -> Line:
        made = Line(b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nabc', "/v1/images/edits")
        made.gone.set()
        return made

    _, registry = served(pipeline, line, nothing)
    counted = {"route": "/v1/images/edits", "status": "499"}
    assert registry.get_sample_value("mentor_requests_total", counted) == 1


@pytest.mark.parametrize("version", ["2.3", "2.4"])  # Starlette has two ways to stream; uvicorn's is the first
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_nobody_reads_is_over(
    pipeline: MentorPipeline, requests: list[Request], monkeypatch: pytest.MonkeyPatch, stream: bool, version: str
) -> None:
    monkeypatch.setattr(gate, "SEND_SECONDS", 0.05)
    monkeypatch.setattr(events, "BEAT", 1)

    closed: list[Mailbox] = []
    monkeypatch.setattr(Mailbox, "close", lambda mailbox: closed.append(mailbox))

    def line() -> Line:
        made = Line({"prompt": "fox" if stream else "", "stream": stream})  # without a prompt an error is told at once
        made.scope["asgi"] = {"version": "3.0", "spec_version": version}
        made.send = stuck  # type: ignore[method-assign]
        return made

    async def stuck(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def nothing(line: Line) -> None:
        return None

    served(pipeline, line, nothing)
    assert [request.cancelled.is_set() for request in requests] == [True] * stream
    assert len(closed) == len(requests)  # what was not sent is let go at once


def test_a_stream_that_waits_says_so(
    pipeline: MentorPipeline, requests: list[Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEAT", 1)
    line, _ = served(
        pipeline, lambda: Line({"prompt": "fox", "stream": True}), lambda line: leave(line, requests, sent=2)
    )
    assert any(message.get("body") == b": waiting\n\n" for message in line.sent)
