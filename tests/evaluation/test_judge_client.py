"""One question to an endpoint: what is sent, what comes back, what each kind of trouble is taken for."""

from __future__ import annotations

import base64
import io
import json
import socket

import pytest
from PIL import Image

from mentor.evaluation.judge_client import (
    EndpointJudge,
    JudgeBusy,
    JudgeDown,
    QuestionFailed,
    Turn,
    encode_image,
)
from mentor.evaluation.protocol import JudgeSettings
from tests.evaluation.judge_server import Answer, judge_server

DIALOGUE = (
    Turn("user", "the rubric"),
    Turn("assistant", "understood"),
    Turn("user", "a fox", (encode_image(Image.new("RGB", (40, 20), "red")),)),
)


def test_pictures_become_jpegs_of_512_pixels_whatever_their_shape() -> None:
    # Red above blue: squashed into a square, the border between them stays in the middle.
    picture = Image.new("RGBA", (300, 100), "red")
    picture.paste((0, 0, 255, 255), (0, 50, 300, 100))
    read = Image.open(io.BytesIO(encode_image(picture)))
    assert (read.format, read.size, read.mode) == ("JPEG", (512, 512), "RGB")
    red, blue = read.getpixel((256, 100)), read.getpixel((256, 400))
    assert red[0] > 240 and red[2] < 15 and blue[2] > 240 and blue[0] < 15


def test_a_request_is_an_openai_chat_completion() -> None:
    with judge_server(lambda number, body: Answer("Score: 3")) as server:
        judge = EndpointJudge(server.url + "/", "pinned", key="secret", temperature=0.5, max_tokens=77)
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
    with judge_server(lambda number, body: Answer()) as server:
        EndpointJudge(server.url, "pinned").ask(DIALOGUE, 0)
    assert "Authorization" not in server.headers[0] and "max_tokens" not in server.requests[0]


def test_the_key_is_read_from_the_named_variable_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "hidden-key")
    with judge_server(lambda number, body: Answer(status=401)) as server:
        judge = EndpointJudge.of(JudgeSettings(url=server.url, model="pinned", key_variable="SOME_KEY"))
        with pytest.raises(JudgeDown, match=r"the key in \$SOME_KEY was not accepted") as caught:
            judge.ask(DIALOGUE, 0)
    assert server.headers[0]["Authorization"] == "Bearer hidden-key"
    assert "hidden-key" not in str(caught.value) + repr(judge) + json.dumps(dict(judge.settings))


def test_a_refusal_without_key_says_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with judge_server(lambda number, body: Answer(status=401)) as server, pytest.raises(JudgeDown, match="is not set"):
        EndpointJudge.of(JudgeSettings(url=server.url)).ask(DIALOGUE, 0)


def test_a_redirect_is_not_followed() -> None:
    # The key would go to an address that nobody named.
    with judge_server(lambda number, body: Answer()) as other:
        answer = Answer(status=307, headers={"Location": other.url + "/chat/completions"})
        with judge_server(lambda number, body: answer) as server, pytest.raises(JudgeDown, match="HTTP 307"):
            EndpointJudge(server.url, "pinned", key="secret").ask(DIALOGUE, 0)
    assert other.requests == []


@pytest.mark.parametrize(
    ("status", "kind"), [(500, JudgeBusy), (503, JudgeBusy), (429, JudgeBusy), (400, QuestionFailed), (404, JudgeDown)]
)
def test_statuses(status: int, kind: type[Exception]) -> None:
    answer = Answer(status=status, body=b'{"error": {"message": "no such\\n thing"}}')
    with judge_server(lambda number, body: answer) as server, pytest.raises(kind) as caught:
        EndpointJudge(server.url, "pinned").ask(DIALOGUE, 0)
    assert type(caught.value) is kind
    assert f"HTTP {status}" in str(caught.value) and "no such" in str(caught.value)


@pytest.mark.parametrize(("header", "pause"), [("7", 7.0), ("0.25", 0.25), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_a_busy_judge_may_say_how_long_to_wait(header: str, pause: float | None) -> None:
    answer = Answer(status=429, headers={"Retry-After": header})
    with judge_server(lambda number, body: answer) as server, pytest.raises(JudgeBusy) as caught:
        EndpointJudge(server.url, "pinned").ask(DIALOGUE, 0)
    assert caught.value.pause == pause and caught.value.reached


def test_silence_ends_after_the_timeout() -> None:
    with judge_server(lambda number, body: Answer(delay=1.0)) as server:
        judge = EndpointJudge(server.url, "pinned", timeout=0.1)
        with pytest.raises(JudgeBusy, match=r"no answer within 0\.1 s"):
            judge.ask(DIALOGUE, 0)


def test_nobody_at_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(JudgeBusy, match=f"127.0.0.1:{port}") as caught:
        EndpointJudge(f"http://127.0.0.1:{port}/v1", "pinned").ask(DIALOGUE, 0)
    assert not caught.value.reached


@pytest.mark.parametrize(
    "body", [b"<html>proxy</html>", b"{}", b'{"choices": []}', b"[1]", b'{"choices": [{"message": 3}]}']
)
def test_what_is_no_completion_is_asked_again(body: bytes) -> None:
    with judge_server(lambda number, _: Answer(body=body)) as server, pytest.raises(JudgeBusy, match="chat completion"):
        EndpointJudge(server.url, "pinned").ask(DIALOGUE, 0)


def test_a_refusal_in_words_has_no_content_and_counts_its_tokens() -> None:
    body = b'{"choices": [{"message": {"content": null, "refusal": "no"}}], "usage": null}'
    with judge_server(lambda number, _: Answer(body=body)) as server:
        reply = EndpointJudge(server.url, "pinned").ask(DIALOGUE, 0)
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
    with pytest.raises(ValueError, match="judge: expected"):
        EndpointJudge(url, name, timeout=timeout, threads=threads)


def test_a_key_with_a_line_end_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match=r"the key in \$OPENAI_API_KEY") as caught:
        EndpointJudge("http://x", "m", key="hidden-key\n")
    assert "hidden-key" not in str(caught.value)
