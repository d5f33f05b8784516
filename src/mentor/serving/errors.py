"""Mistakes and failures in the form that OpenAI's clients read: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mentor.serving.jobs import Busy, Closed

GONE = "whoever asked has gone"


class ApiError(Exception):
    """An answer that is no picture."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, headers

    def body(self) -> dict[str, Any]:
        """The JSON that goes out."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status, self.headers)


@contextmanager
def users_mistakes(param: str | None = None, name: str = "", among: Iterable[str] = ()) -> Iterator[None]:
    """Within, a ``ValueError`` is the asker's: it is told, after the ``name`` of what is wrong.

    ``among``: parameters with whose name a message may begin.
    """
    try:
        yield
    except ValueError as error:
        said = str(error)
        param = param or next((known for known in among if said.startswith(f"{known}:")), None)
        raise ApiError(400, f"{name}: {said}" if name else said, param=param) from error


def as_api_error(error: Exception) -> ApiError:
    """What is told about any exception; of the server's own faults only that there was one (the log has the rest)."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError | RequestValidationError):
        return _invalid(error)
    if isinstance(error, Busy):
        return ApiError(429, str(error), code="queue_full", headers={"Retry-After": str(error.seconds)})
    if isinstance(error, Closed):
        return ApiError(503, str(error), code="stopping", headers={"Retry-After": "10"})
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, str(error.detail), headers=error.headers)
    if isinstance(error, ClientDisconnect):
        return ApiError(499, GONE)
    return ApiError(500, "the picture could not be drawn; the server's log says why", code="internal_error")


def _invalid(error: ValidationError | RequestValidationError) -> ApiError:
    """The first thing that is wrong, by the parameter's name."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part != "body"]
    name = ".".join(where) or None
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown parameter '{name}'", param=name, code="unknown_parameter")
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is not JSON")
    if name is None:
        return ApiError(400, f"{first['msg']}: send a JSON object, and with it Content-Type: application/json")
    return ApiError(400, f"{name}: {first['msg']}", param=name)


def add_handlers(app: FastAPI) -> None:
    """Every error leaves the app in this form."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return as_api_error(error).response()

    known = (ApiError, RequestValidationError, ValidationError, Busy, Closed, HTTPException, ClientDisconnect)
    for kind in (*known, Exception):
        app.add_exception_handler(kind, handle)
