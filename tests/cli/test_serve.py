"""``mentor serve`` as a user starts and stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@contextmanager
def served(*words: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address, read from the line that it prints."""
    command = [sys.executable, "-m", "mentor", "serve", "--port", "0", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"at (http://\S+) ", line)
            assert found, line + process.stderr.read()
            yield process, found[1]
        finally:
            process.kill()


def ask(address: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


@pytest.mark.integration
def test_a_server_starts_draws_and_stops(tiny_model: Path) -> None:
    with served("--model", tiny_model, "--name", "tiny", MENTOR_API_KEY="key") as (process, address):
        assert ask(f"{address}/health") == {"status": "ok"}
        answer = ask(f"{address}/v1/images/generations", {"prompt": "fox", "n": 2}, Authorization="Bearer key")
        assert (answer["model"], len(answer["data"])) == ("tiny", 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--port", "70000"], "--port: expected 0 to 65535, got 70000"),
        (["--max-batch", "0"], "max-batch: expected 1 or more, got 0"),
        (["--port", "0", "--model", "nowhere"], "nowhere"),
        (["--host", "192.0.2.1", "--port", "0"], "cannot listen at 192.0.2.1 port 0"),
    ],
)
def test_a_mistake_costs_one_line(run: Run, words: list[str], expected: str) -> None:
    done = run("serve", *words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert expected in done.err


def test_a_taken_port_is_told_before_the_model_is_read(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", port, "--model", "nowhere")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert f"cannot listen at 127.0.0.1 port {port}: Address already in use" in done.err
