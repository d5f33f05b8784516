"""One question to an endpoint: what is sent, what comes back, what each kind of trouble is taken for."""

from __future__ import annotations

import base64
import socket
from typing import Any

import pytest
from PIL import Image

from mentor.vlm.client import Endpoint, ModelBusy, ModelDown, QuestionFailed, Turn, encode_jpeg, open_jpeg
from tests.vlm.model_server import Answer, model_server

DIALOGUE = (
    Turn("user", "the rubric"),
    Turn("assistant", "understood"),
    Turn("user", "a fox", (encode_jpeg(Image.new("RGB", (40, 20), "red")),)),
)


def test_pictures_are_shown_as_jpegs_of_their_own_shape() -> None:
    read = open_jpeg(encode_jpeg(Image.new("RGBA", (30, 10), (255, 0, 0, 0))))
    assert (read.mode, read.size) == ("RGB", (30, 10))


def test_a_request_is_an_openai_chat_completion() -> None:
    with model_server(lambda number, body: Answer("Score: 3")) as server:
        judge = Endpoint(server.url + "/", "pinned", key="secret", temperature=0.5, max_tokens=77)
        reply = judge.ask(DIALOGUE, seed=5)
    assert server.paths == ["/v1/chat/completions"]
    assert server.headers[0]["Authorization"] == "Bearer secret"
    asked = server.requests[0]
    assert {key: asked[key] for key in asked if key != "messages"} == {
        "model": "pinned",
        "temperature": 0.5,
        "seed": 5,
        "max_tokens": 77,
    }
    rubric, consent, sample = asked["messages"]
    assert rubric == {"role": "user", "content": "the rubric"}
    assert consent == {"role": "assistant", "content": "understood"}
    text, image = sample["content"]
    assert (sample["role"], text) == ("user", {"type": "text", "text": "a fox"})
    kind, _, data = image["image_url"]["url"].partition(",")
    assert (kind, image["image_url"]["detail"]) == ("data:image/jpeg;base64", "high")
    assert base64.b64decode(data) == DIALOGUE[2].images[0]
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("Score: 3", 1000, 20)
    assert reply.served == "judge-2026-01-01"


def test_without_key_and_token_limit_none_is_sent() -> None:
    with model_server(lambda number, body: Answer()) as server:
        Endpoint(server.url, "pinned").ask(DIALOGUE, 0)
    assert "Authorization" not in server.headers[0] and "max_tokens" not in server.requests[0]


def test_no_temperature_may_be_sent() -> None:
    with model_server(lambda number, body: Answer()) as server:
        judge = Endpoint(server.url, "pinned", temperature=None)
        judge.ask(DIALOGUE, 0)
    assert "temperature" not in server.requests[0]
    assert judge.settings["temperature"] is None


def test_a_model_that_knows_the_limit_by_its_new_name_alone() -> None:
    """OpenAI's reasoning models: asked twice once, then under the name that they know."""

    def strict(number: int, body: dict[str, Any]) -> Answer:
        said = (
            b'{"error": {"message": "Unsupported parameter: \'max_tokens\'. Use \'max_completion_tokens\' instead."}}'
        )
        return Answer(status=400, body=said) if "max_tokens" in body else Answer("Score: 3")

    with model_server(strict) as server:
        judge = Endpoint(server.url, "pinned", max_tokens=77)
        assert [judge.ask(DIALOGUE, 0).text for _ in range(2)] == ["Score: 3"] * 2
    assert ["max_tokens" in body for body in server.requests] == [True, False, False]
    assert [body.get("max_completion_tokens") for body in server.requests] == [None, 77, 77]
    assert judge.settings["max_tokens"] == 77


def test_other_refusals_are_not_sent_again() -> None:
    with model_server(lambda number, body: Answer(status=400, body=b"no such seed")) as server:
        with pytest.raises(QuestionFailed, match="no such seed"):
            Endpoint(server.url, "pinned", max_tokens=77).ask(DIALOGUE, 0)
        assert len(server.requests) == 1


def test_a_refusal_without_key_says_which_variable_to_set() -> None:
    with model_server(lambda number, body: Answer(status=401)) as server, pytest.raises(ModelDown, match="is not set"):
        Endpoint(server.url, "pinned").ask(DIALOGUE, 0)


def test_a_redirect_is_not_followed() -> None:
    # The key would go to an address that nobody named.
    with model_server(lambda number, body: Answer()) as other:
        answer = Answer(status=307, headers={"Location": other.url + "/chat/completions"})
        with model_server(lambda number, body: answer) as server, pytest.raises(ModelDown, match="HTTP 307"):
            Endpoint(server.url, "pinned", key="secret").ask(DIALOGUE, 0)
    assert other.requests == []


@pytest.mark.parametrize(
    ("status", "kind"), [(500, ModelBusy), (503, ModelBusy), (429, ModelBusy), (400, QuestionFailed), (404, ModelDown)]
)
def test_statuses(status: int, kind: type[Exception]) -> None:
    answer = Answer(status=status, body=b'{"error": {"message": "no such\\n thing"}}')
    with model_server(lambda number, body: answer) as server, pytest.raises(kind) as caught:
        Endpoint(server.url, "pinned").ask(DIALOGUE, 0)
    assert type(caught.value) is kind
    assert f"HTTP {status}" in str(caught.value) and "no such" in str(caught.value)


@pytest.mark.parametrize(("header", "pause"), [("7", 7.0), ("0.25", 0.25), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_a_busy_judge_may_say_how_long_to_wait(header: str, pause: float | None) -> None:
    answer = Answer(status=429, headers={"Retry-After": header})
    with model_server(lambda number, body: answer) as server, pytest.raises(ModelBusy) as caught:
        Endpoint(server.url, "pinned").ask(DIALOGUE, 0)
    assert caught.value.pause == pause and caught.value.reached


def test_silence_ends_after_the_timeout() -> None:
    with model_server(lambda number, body: Answer(delay=1.0)) as server:
        judge = Endpoint(server.url, "pinned", timeout=0.1)
        with pytest.raises(ModelBusy, match=r"no answer within 0\.1 s"):
            judge.ask(DIALOGUE, 0)


def test_nobody_at_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelBusy, match=f"127.0.0.1:{port}") as caught:
        Endpoint(f"http://127.0.0.1:{port}/v1", "pinned").ask(DIALOGUE, 0)
    assert not caught.value.reached


@pytest.mark.parametrize(
    "body", [b"<html>proxy</html>", b"{}", b'{"choices": []}', b"[1]", b'{"choices": [{"message": 3}]}']
)
def test_what_is_no_completion_is_asked_again(body: bytes) -> None:
    with model_server(lambda number, _: Answer(body=body)) as server, pytest.raises(ModelBusy, match="chat completion"):
        Endpoint(server.url, "pinned").ask(DIALOGUE, 0)


def test_a_refusal_in_words_has_no_content_and_counts_its_tokens() -> None:
    body = b'{"choices": [{"message": {"content": null, "refusal": "no"}}], "usage": null}'
    with model_server(lambda number, _: Answer(body=body)) as server:
        reply = Endpoint(server.url, "pinned").ask(DIALOGUE, 0)
    assert (reply.text, reply.prompt_tokens, reply.served) == ("", 0, "")


@pytest.mark.parametrize(
    ("url", "name", "timeout", "threads"),
    [
        ("ftp://x/v1", "m", 1, 1),
        ("x/v1", "m", 1, 1),
        ("http://x", "", 1, 1),
        ("http://x", "m", 0, 1),
        ("http://x", "m", 1, 0),
    ],
)
def test_wrong_settings(url: str, name: str, timeout: float, threads: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        Endpoint(url, name, timeout=timeout, threads=threads)


def test_a_key_with_a_line_end_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match=r"the key in \$OPENAI_API_KEY") as caught:
        Endpoint("http://x", "m", key="hidden-key\n")
    assert "hidden-key" not in str(caught.value)
