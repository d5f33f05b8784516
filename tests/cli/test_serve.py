"""``mentor serve`` as a user starts and stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
def test_a_server_draws_and_ends_what_it_began_when_it_is_stopped(tiny_model: Path) -> None:
    words = ("--model", tiny_model, "--name", "tiny", "--max-wait", 2)  # the picture waits two seconds for others
    with served(*words, MENTOR_API_KEY="key") as (process, address), ThreadPoolExecutor() as threads:
        assert ask(f"{address}/health") == {"status": "ok"}
        asked = threads.submit(
            ask, f"{address}/v1/images/generations", {"prompt": "fox", "n": 2}, Authorization="Bearer key"
        )
        while "mentor_waiting_pictures 2.0" not in metrics(address):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        answer = asked.result(60)
        assert (answer["model"], len(answer["data"])) == ("tiny", 2)
        assert process.wait(60) in (0, -signal.SIGTERM)


def metrics(address: str) -> str:
    request = urllib.request.Request(f"{address}/metrics", headers={"Authorization": "Bearer key"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


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
