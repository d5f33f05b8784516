"""An OpenAI-compatible endpoint in a thread that answers as a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What goes back: a text as chat completion, or another status, or any body."""

    text: str | None = "Score: 4"
    status: int = 200
    body: bytes | None = None
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class ModelServer:
    """``answer`` receives the number of the request (from 0) and its body."""

    answer: Callable[[int, dict[str, Any]], Answer]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    busiest: int = 0
    _busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        answer = self.answer(number, body)
        time.sleep(answer.delay)
        with self._lock:
            self._busy -= 1
        completion = {
            "model": "judge-2026-01-01",
            "choices": [{"message": {"role": "assistant", "content": answer.text}}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 20},
        }
        data = json.dumps(completion).encode() if answer.body is None else answer.body
        try:
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)
        except OSError:
            pass  # the client gave up waiting: that is what the test is about


@contextmanager
def model_server(answer: Callable[[int, dict[str, Any]], Answer]) -> Iterator[ModelServer]:
    """A server on a free port of this computer for as long as the block runs."""
    server = ModelServer(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.handle(self)

        def log_message(self, format: str, *args: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
