"""Who may ask, how much, what is counted, and that the page needs nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from mentor import MentorPipeline
from mentor.serving.app import create_app
from mentor.serving.gate import COUNTED
from mentor.serving.settings import ServeSettings


@pytest.fixture
def guarded(pipeline: MentorPipeline) -> Iterator[TestClient]:
    with TestClient(create_app(pipeline, ServeSettings(api_key="open-sesame", max_upload=5000))) as client:
        yield client


KEY = {"Authorization": "Bearer open-sesame"}


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/v1/images/generations", "/nothing"])
@pytest.mark.parametrize("given", ["", "open-sesame", "Bearer open-sesam", "Bearer open-sesame ", "Bearer öffne"])
def test_without_the_key_nothing_is_answered(guarded: TestClient, path: str, given: str) -> None:
    headers = {"Authorization": given.encode()} if given else {}
    answer = guarded.get(path, headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_with_the_key_it_is(guarded: TestClient) -> None:
    assert guarded.get("/v1/models", headers=KEY).status_code == 200
    assert guarded.post("/v1/images/generations", json={"prompt": "fox"}, headers=KEY).status_code == 200


def test_the_page_and_the_health_are_open(guarded: TestClient) -> None:
    assert guarded.get("/").status_code == 200
    assert guarded.get("/health").json() == {"status": "ok"}
    assert guarded.head("/health").status_code == 200


def test_behind_a_proxys_prefix_the_same_is_open(pipeline: MentorPipeline) -> None:
    app = create_app(pipeline, ServeSettings(api_key="open-sesame"))
    with TestClient(app, root_path="/mentor") as client:
        assert client.get("/mentor/health").status_code == 200
        assert client.get("/mentor/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 400), ("none", 400)]
)
def test_pages_of_other_sites_may_not_ask(client: TestClient, site: str, status: int) -> None:
    assert client.post("/v1/images/generations", json={}, headers={"Sec-Fetch-Site": site}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://testserver:8001"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://testserver"}, 400),
        ({"Origin": "http://192.0.2.7:8000", "Host": "192.0.2.7:8000"}, 400),
        # A proxy that does not pass the host on: the browser itself says that the page is its own.
        ({"Origin": "https://pictures.example", "Sec-Fetch-Site": "same-origin"}, 400),
    ],
)
def test_a_browser_that_names_only_the_origin_is_believed(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/v1/images/generations", json={}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("localhost", "LOCALHOST:8000", "[::1]:8000", "[::1]")),
        *((name, 403) for name in ("evil.example:8000", "localhost.evil.example", "localhost:x", "")),
    ],
)
def test_only_its_own_names_lead_to_a_server(pipeline: MentorPipeline, host: str, status: int) -> None:
    client = TestClient(create_app(pipeline, ServeSettings(hosts=("localhost", "[::1]"))))
    assert client.get("/v1/models", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits"])
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_too_large_is_refused(guarded: TestClient, path: str, chunked: bool) -> None:
    kind = "multipart/form-data; boundary=x" if path.endswith("edits") else "application/json"
    head = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' if path.endswith("edits") else b'"'
    )
    parts = [head] + [b"a" * 1000] * (6 if path.endswith("edits") else 70)
    content: Any = iter(parts) if chunked else b"".join(parts)
    answer = guarded.post(path, content=content, headers={**KEY, "content-type": kind})
    assert answer.status_code == 413
    most = 5000 if path.endswith("edits") else 65536
    assert f"larger than {most} bytes" in answer.json()["error"]["message"]


def test_unknown_addresses_and_methods_have_the_same_form(client: TestClient) -> None:
    assert client.get("/v1/nothing").json()["error"]["message"] == "Not Found"
    wrong = client.get("/v1/images/edits")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_what_happened_is_counted(pipeline: MentorPipeline) -> None:
    with TestClient(create_app(pipeline)) as client:
        client.post("/v1/images/generations", json={"prompt": "fox", "n": 3})
        client.post("/v1/images/generations", json={})
        client.get("/scanned.php")
        text = client.get("/metrics").text
    for line in (
        'mentor_requests_total{route="/v1/images/generations",status="200"} 1.0',
        'mentor_requests_total{route="/v1/images/generations",status="400"} 1.0',
        'mentor_requests_total{route="other",status="404"} 1.0',
        "mentor_pictures_total 3.0",
        "mentor_batch_pictures_sum 3.0",
        "mentor_waiting_pictures 0.0",
    ):
        assert line in text


def test_what_is_refused_at_the_gate_is_counted_by_its_address(guarded: TestClient) -> None:
    guarded.post("/v1/images/edits")
    guarded.get("/scanned.php")
    text = guarded.get("/metrics", headers=KEY).text
    assert 'mentor_requests_total{route="/v1/images/edits",status="401"} 1.0' in text
    assert 'mentor_requests_total{route="other",status="401"} 1.0' in text


def test_every_counted_address_is_there(client: TestClient) -> None:
    for path in COUNTED:
        assert client.get(path).status_code in (200, 405), path


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    answer = client.get("/")
    assert not re.search(r"(https?:)?//\w", answer.text.replace('"use strict";', ""))
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    # Every element that the script names is there.
    for name in re.findall(r'\$\("([\w-]+)"\)', answer.text):
        assert f'id="{name}"' in answer.text, name


def test_the_schema_describes_both_requests(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    form = schema["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"image", "subject", "prompt", "cfg_scale"} <= set(form["properties"])
    assert "GenerationRequest" in schema["components"]["schemas"]


def test_a_stopped_server_is_not_healthy(pipeline: MentorPipeline) -> None:
    with TestClient(create_app(pipeline)) as client:
        client.app.state.service.queue.close()  # type: ignore[attr-defined]
        assert client.get("/health").status_code == 503
        answer = client.post("/v1/images/generations", json={"prompt": "fox"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_batch": 0}, "max-batch: expected 1 or more, got 0"),
        ({"max_queue": 3}, "max-images: expected at most max-queue (3), got 10"),
        ({"max_wait": float("nan")}, "max-wait: expected 0 to 60 seconds"),
        ({"api_key": "two words"}, "api-key: expected printable ASCII"),
        ({"api_key": "schlüssel"}, "api-key: expected printable ASCII"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        ServeSettings(**wrong)
