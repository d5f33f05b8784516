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
import uvicorn
from fastapi.testclient import TestClient

from mentor.cli.serve import _listening
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


@pytest.fixture
def started(run: Run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., uvicorn.Config]:
    """Gives ``mentor serve`` words and returns what it would have run."""
    monkeypatch.delenv("MENTOR_API_KEY", raising=False)
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: configs.append(server.config))

    def start(*words: object) -> uvicorn.Config:
        assert run("serve", "--port", 0, "--model", tiny_model, *words).status == 0
        return configs.pop()

    return start


def models(config: uvicorn.Config, host: str = "localhost:8000") -> Any:
    with TestClient(config.app) as client:  # type: ignore[arg-type]
        return client.get("/v1/models", headers={"Host": host})


def test_a_folder_is_called_by_its_name_and_remembered_by_its_path(
    started: Callable[..., uvicorn.Config], tiny_model: Path
) -> None:
    config = started()
    with TestClient(config.app, base_url="http://127.0.0.1:1") as client:  # type: ignore[arg-type]
        assert client.get("/v1/models").json()["data"][0]["id"] == "tiny"
        assert client.app.state.service.settings.model == str(tiny_model)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "key", "foreign"),
    [((), "", 403), (("--host", "localhost"), "", 403), ((), "key", 401), (("--host", "0.0.0.0"), "", 200)],
)
def test_without_a_key_this_machine_is_asked_by_its_own_name(
    started: Callable[..., uvicorn.Config], monkeypatch: pytest.MonkeyPatch, words: Any, key: str, foreign: int
) -> None:
    monkeypatch.setenv("MENTOR_API_KEY", key)
    config = started(*words)
    assert models(config, "evil.example").status_code == foreign
    assert models(config, "127.0.0.1:8000").status_code == (401 if key else 200)


def test_limits_and_log_are_settable(started: Callable[..., uvicorn.Config]) -> None:
    usual, chosen = started(), started("--max-upload", 1, "--max-queue", 100, "--access-log")
    assert [models(config).json()["data"][0]["limits"]["upload_bytes"] for config in (usual, chosen)] == [2**25, 2**20]
    assert (usual.access_log, chosen.access_log) == (False, True)
    assert (usual.limit_concurrency, chosen.limit_concurrency) == (512, 656)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_what_is_sent_does_not_lie_unread_for_ever() -> None:
    with (
        _listening("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


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
        (["--max-upload", "0"], "max-upload: expected 1 or more, got 0"),
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
