"""One question to a vision-language model: what is said, what comes back, and any OpenAI-compatible endpoint as such a model.

Retrying and keeping answers is ``Asker``'s work, the same for every model. HTTP is the standard library's: the clients that
other packages bring along change their name between releases.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from PIL import Image

_BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_REFUSED = {301, 302, 303, 307, 308, 401, 403, 404, 405, 407}


@dataclass(frozen=True)
class Turn:
    """One turn of a dialogue; ``images`` are JPEG files (``encode_jpeg``)."""

    role: Literal["user", "assistant"]
    text: str = ""
    images: tuple[bytes, ...] = ()
    pictures_first: bool = False
    """Whether the pictures stand before the text: then several questions about one picture begin alike, and servers that keep
    what they have read (prefix caching) look at it once."""


@dataclass(frozen=True)
class Reply:
    """A raw answer; tokens are 0 when the model does not count them."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    served: str = ""
    """The model that says it answered; may differ from the one that was asked."""
    cut: bool = False
    """Whether the answer ends because it became too long."""


class QuestionFailed(Exception):
    """The model did not answer this question; the next one may go well."""


class ModelBusy(QuestionFailed):
    """The same question may go well after ``pause`` seconds (None: as long as the asker likes)."""

    def __init__(self, message: str, pause: float | None = None, *, reached: bool = True) -> None:
        super().__init__(message)
        self.pause = pause
        self.reached = reached
        """Whether anything answered at all."""


class ModelDown(ValueError):
    """No question will be answered: what is wrong with the model."""


class VisionLanguageModel(Protocol):
    """Anything that looks at pictures and answers in words."""

    name: str
    """Pinned model name; a stand-in says that it is one."""
    threads: int
    """How many questions it takes at once."""
    settings: Mapping[str, Any]
    """Everything else that its answers depend on, JSON-ready; goes into the reports and the names of kept answers."""

    def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        """Answer once. Raises ``ModelBusy``, ``QuestionFailed`` or ``ModelDown``."""


def encode_jpeg(picture: Image.Image) -> bytes:
    """A picture of any mode as the JPEG file that a ``Turn`` shows."""
    data = io.BytesIO()
    picture.convert("RGB").save(data, format="JPEG")
    return data.getvalue()


def open_jpeg(image: bytes) -> Image.Image:
    """Such a file as an RGB picture."""
    return Image.open(io.BytesIO(image), formats=("JPEG",)).convert("RGB")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to the address that the user gave and nowhere else."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Endpoint:
    """A model behind ``url``/chat/completions; what is None is not sent. Raises ``ValueError`` for an address not http(s)."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        key: str | None = None,
        key_variable: str = "OPENAI_API_KEY",
        temperature: float | None = 1.0,
        timeout: float = 120.0,
        threads: int = 8,
        max_tokens: int | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"expected an address that begins with http:// or https://, got {url!r}")
        if not name:
            raise ValueError("expected the name of the model to ask, with its date where it has one")
        if timeout <= 0 or threads < 1:
            raise ValueError(f"expected a timeout above 0 and 1 thread or more, got {timeout} and {threads}")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in ${key_variable} has characters that no key has, perhaps a line's end")
        self.name, self.threads = name, threads
        self.settings: Mapping[str, Any] = {"temperature": temperature, "max_tokens": max_tokens, "detail": "high"}
        self._address = url.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        self._limit = "max_tokens"
        self._key, self._key_variable, self._timeout = key, key_variable, timeout
        self._opener = urllib.request.build_opener(_NoRedirects)

    def ask(self, dialogue: Sequence[Turn], seed: int) -> Reply:
        """One request."""
        messages = [_message(turn) for turn in dialogue]
        asked: dict[str, Any] = {"model": self.name, "messages": messages, "seed": seed}
        if self.settings["temperature"] is not None:
            asked["temperature"] = self.settings["temperature"]
        if self.settings["max_tokens"] is None:
            return _reply(self._post(asked))
        limit, tokens = self._limit, self.settings["max_tokens"]
        try:
            return _reply(self._post({**asked, limit: tokens}))
        except QuestionFailed as error:
            if limit != "max_tokens" or not (str(error).startswith("HTTP 400") and limit in str(error)):
                raise
        # OpenAI's reasoning models know the limit under this name alone, many servers under the other.
        reply = _reply(self._post({**asked, "max_completion_tokens": tokens}))
        self._limit = "max_completion_tokens"
        return reply

    def _post(self, asked: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._address, json.dumps(asked).encode(), headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, TimeoutError):
                raise ModelBusy(f"no answer within {self._timeout:g} s") from error
            unreachable = isinstance(reason, ConnectionRefusedError | socket.gaierror)
            raise ModelBusy(f"{self._address}: {reason or type(reason).__name__}", reached=not unreachable) from error

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        try:
            said = " ".join(error.read(2000).decode(errors="replace").split())[:200]
        except (OSError, http.client.HTTPException):
            said = ""
        text = f"HTTP {error.code}" + (f": {said}" if said else "")
        if error.code in (401, 403):
            have = "was not accepted" if self._key else "is not set"
            return ModelDown(f"{self._address} refuses ({text}); the key in ${self._key_variable} {have}")
        if error.code in _REFUSED:
            return ModelDown(f"{self._address} answers {text}; check the address and the model's name {self.name!r}")
        if error.code in _BUSY:
            wait = error.headers.get("Retry-After", "")
            return ModelBusy(text, float(wait) if wait.replace(".", "", 1).isdecimal() else None)
        return QuestionFailed(text)


def _message(turn: Turn) -> dict[str, Any]:
    if not turn.images:
        return {"role": turn.role, "content": turn.text}
    words: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    pictures: list[dict[str, Any]] = []
    for image in turn.images:
        address = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
        pictures.append({"type": "image_url", "image_url": {"url": address, "detail": "high"}})
    return {"role": turn.role, "content": pictures + words if turn.pictures_first else words + pictures}


def _reply(data: bytes) -> Reply:
    try:
        body = json.loads(data)
        text = body["choices"][0]["message"].get("content")
        usage = body.get("usage") or {}
        return Reply(
            text if isinstance(text, str) else "",  # a refusal has no content: an answer without a score
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            str(body.get("model") or ""),
            body["choices"][0].get("finish_reason") == "length",
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        said = " ".join(data[:200].decode(errors="replace").split())
        raise ModelBusy(f"expected a chat completion as JSON, got {said!r}") from error
