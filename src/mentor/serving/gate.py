"""What stands before every request: who may ask, how much, how long an answer may take, and the count of answers."""

from __future__ import annotations

import asyncio
import hmac
import re
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mentor.serving.errors import ApiError
from mentor.serving.metrics import Metrics
from mentor.serving.settings import SEND_SECONDS, ServeSettings

OPEN = ("/", "/health")
"""What anyone may see: the page is empty without the API."""
UPLOADS = "/v1/images/edits"
COUNTED = (*OPEN, UPLOADS, "/v1/images/generations", "/v1/models", "/metrics", "/openapi.json")
"""Addresses by whose name also what never reaches its route is counted."""
MOST_JSON = 64 * 2**10
"""Bytes of a request without pictures: checking a larger one would keep all others waiting."""


class _Unread(OSError):
    """Whoever asked does not read; an ``OSError``, which Starlette takes for a connection that broke."""


class Gate:
    """ASGI middleware; pure, because Starlette's base class hides from a stream that its reader has gone."""

    def __init__(self, app: ASGIApp, *, settings: ServeSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    await send(message)
            except TimeoutError as error:
                raise _Unread from error

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal.response()(scope, receive, counted)
            else:
                await self.app(scope, self._limited(scope, receive), counted)
        except _Unread:
            pass  # the server closes what ends before its answer does
        finally:
            # Only routes that exist: whoever scans a server for weak spots would else make endless names.
            path = _path(scope)
            route = getattr(scope.get("route"), "path", path if path in COUNTED else "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(time.monotonic() - started)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = re.sub(r":\d*$", "", host)
        if self.settings.hosts and name not in self.settings.hosts:
            # A page may let its own name lead to this machine; its requests then count as those of the same site.
            return ApiError(403, f"expected the host {self.settings.hosts[0]}, got {name!r}: ask there, or set a key")
        if self.settings.api_key and _path(scope) not in OPEN:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.settings.api_key}".encode()):
                return ApiError(
                    401,
                    "wrong or no API key: send Authorization: Bearer KEY",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        if scope["method"] == "POST" and _foreign(headers, host):
            # Without a key any page in the browser of somebody who reaches the server could make it draw.
            return ApiError(403, "the pages of other sites may not ask")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._most(scope):
            return ApiError(413, self._too_large(scope))
        return None

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """``receive`` that ends where more comes than may, whatever the header promised."""
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most(scope):
                raise HTTPException(413, self._too_large(scope))
            return message

        return limited

    def _most(self, scope: Scope) -> int:
        return self.settings.max_upload if _path(scope) == UPLOADS else MOST_JSON

    def _too_large(self, scope: Scope) -> str:
        return f"the request is larger than {self._most(scope)} bytes"


def _foreign(headers: Headers, host: str) -> bool:
    """Whether a browser sent it for a page of another site; over plain HTTP to another machine only Origin tells."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ("cross-site", "same-site")
    return origin is not None and origin.lower().partition("://")[2] != host


def _path(scope: Scope) -> str:
    """The path as the routes know it, without the prefix of a proxy."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))
