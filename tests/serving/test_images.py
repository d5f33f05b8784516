"""The API: OpenAI's own client gets the pipeline's pictures, and every mistake is told in one sentence."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mentor import MentorPipeline, build_prompt
from mentor.config.sampling import GenerationSettings
from mentor.generation.png_metadata import read_metadata
from mentor.serving.app import create_app
from mentor.serving.errors import ApiError
from mentor.serving.settings import ServeSettings

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"


def png(colour: str = "red", size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def icon() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, "ICO")
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG of 30,000 x 30,000 pixels that says so in its header."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png()[33:]


def picture(data: str | None) -> np.ndarray[Any, Any]:
    assert data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def events(body: str) -> list[dict[str, Any]]:
    parts = [dict(line.split(": ", 1) for line in part.split("\n")) for part in body.strip().split("\n\n")]
    read = [json.loads(part["data"]) for part in parts]
    assert [part["event"] for part in parts] == [each.get("type", "error") for each in read]
    return read


@pytest.fixture
def openai_client(client: TestClient) -> openai.OpenAI:
    return openai.OpenAI(api_key="any", base_url="http://testserver/v1", http_client=client, max_retries=0)


def test_openais_client_generates(openai_client: openai.OpenAI, pipeline: MentorPipeline) -> None:
    answer = openai_client.images.generate(prompt="a red fox", model="tiny", n=2, extra_body={"seed": 3, "top_k": 5})
    expected = pipeline("a red fox", num_images=2, seed=3, top_k=5).images
    assert answer.data is not None
    assert [each.seed for each in answer.data] == [3, 4]  # type: ignore[attr-defined]
    for got, wanted in zip(answer.data, expected, strict=True):
        assert np.array_equal(picture(got.b64_json), np.asarray(wanted))
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 32)


def test_openais_client_edits_with_two_images(openai_client: openai.OpenAI, pipeline: MentorPipeline) -> None:
    answer = openai_client.images.edit(
        image=[("fox.png", png("red", (300, 20))), ("hat.png", png("blue"))],
        prompt="on the beach",
        model="tiny",
        extra_body={"seed": 1, "cfg_scale": 4.0, "subject": ["fox", "hat"]},
    )
    images = [Image.open(io.BytesIO(data)) for data in (png("red", (300, 20)), png("blue"))]
    wanted = pipeline(build_prompt("on the beach", images, subject=["fox", "hat"]), seed=1, cfg_scale=4.0).images[0]
    assert answer.data is not None
    assert np.array_equal(picture(answer.data[0].b64_json), np.asarray(wanted))
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens == 8


def test_openais_client_streams(openai_client: openai.OpenAI, pipeline: MentorPipeline) -> None:
    stream = openai_client.images.generate(
        prompt="a red fox", model="tiny", stream=True, partial_images=3, extra_body={"seed": 3}
    )
    told = list(stream)
    *partial, completed = told  # an unfinished picture that a newer one overtakes is not sent
    assert 1 <= len(partial) <= 3
    assert {each.type for each in partial} == {"image_generation.partial_image"}
    assert [each.partial_image_index for each in partial] == list(range(len(partial)))  # type: ignore[union-attr]
    assert completed.type == "image_generation.completed"
    assert np.array_equal(picture(completed.b64_json), np.asarray(pipeline("a red fox", seed=3).images[0]))


def test_a_stream_of_several_pictures_names_each(client: TestClient, pipeline: MentorPipeline) -> None:
    form = {"prompt": "in the image", "subject": "fox", "n": 2, "seed": 8, "stream": "true", "partial_images": 1}
    answer = client.post(EDITS, data=form, files={"image": ("fox.png", png())})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    told = events(answer.text)
    assert [(each["type"], each["index"], each["seed"]) for each in told] == [
        ("image_edit.partial_image", 0, 8),
        ("image_edit.partial_image", 1, 9),
        ("image_edit.completed", 0, 8),
        ("image_edit.completed", 1, 9),
    ]


def test_a_picture_remembers_how_it_was_made(client: TestClient, tmp_path: Path) -> None:
    answer = client.post(
        EDITS, data={"subject": "fox", "task": "segment", "seed": 5}, files={"image": ("f.png", png())}
    )
    file = tmp_path / "fox.png"
    file.write_bytes(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    made = read_metadata(file)
    assert made["seeds"] == [5]
    assert (made["model"], made["device"]) == ("tiny", "cpu")
    assert made["images"][0]["file"] == "f.png"
    assert "fox" in made["prompt"]


def test_a_picture_remembers_the_model_with_its_adapters(pipeline: MentorPipeline, tmp_path: Path) -> None:
    with TestClient(create_app(pipeline, ServeSettings(name="mug", model="mini + runs/mug"))) as client:
        answer = client.post(GENERATIONS, json={"prompt": "fox"}).json()
    (tmp_path / "fox.png").write_bytes(base64.b64decode(answer["data"][0]["b64_json"]))
    assert (answer["model"], read_metadata(tmp_path / "fox.png")["model"]) == ("mug", "mini + runs/mug")


def test_a_seed_that_nobody_chose_is_told_and_makes_the_picture_again(client: TestClient) -> None:
    first, second = (client.post(GENERATIONS, json={"prompt": "fox"}).json()["data"][0] for _ in range(2))
    assert first["seed"] != second["seed"]
    again = client.post(GENERATIONS, json={"prompt": "fox", "seed": first["seed"]}).json()["data"][0]
    assert again["b64_json"] == first["b64_json"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "prompt: Field required"),
        ({"prompt": None}, "prompt: Field required"),
        ({"prompt": "fox", "temprature": None}, "unknown parameter 'temprature'"),
        ({"prompt": ""}, "prompt: String should have at least 1 character"),
        ({"prompt": "  "}, "the prompt is empty"),
        ({"prompt": "a <image>"}, "1 image"),
        ({"prompt": "fox " * 200}, "the prompt has 2"),
        ({"prompt": "x" * 10_001}, "at most 10000 characters"),
        ({"prompt": "fox", "n": 0}, "n: Input should be greater"),
        ({"prompt": "fox", "n": 5}, "n: expected 1 to 4 pictures, got 5"),
        ({"prompt": "fox", "n": "many"}, "n: Input should be a valid integer"),
        ({"prompt": "fox", "size": "1024x1024"}, "size: the model draws 32x32, not '1024x1024'"),
        ({"prompt": "fox", "seed": -1}, "seed: Input should be greater"),
        ({"prompt": "fox", "seed": 2**63 - 1}, "seed: expected at most"),
        ({"prompt": "fox", "seed": 2**63}, "seed: Input should be less"),
        ({"prompt": "fox", "cfg_scale": 0.5}, "cfg_scale: expected"),
        ({"prompt": "fox", "top_p": 0}, "top_p: expected"),
        ({"prompt": "fox", "temprature": 1}, "unknown parameter 'temprature'"),
        ({"prompt": "fox", "top_k": 10**400}, "top_k: Input should be less"),
        ({"prompt": "fox", "n": True}, "n: Input should be a valid integer"),
        ({"prompt": "fox", "stream": "no"}, "stream: Input should be a valid boolean"),
        ({"prompt": "fox", "user": "x" * 201}, "user: String should have at most 200"),
        ({"prompt": "fox", "response_format": "url"}, "response_format: Input should be 'b64_json'"),
        ({"prompt": "fox", "background": "transparent"}, "background: Input should be 'auto' or 'opaque'"),
        ({"prompt": "fox", "partial_images": 2}, "partial_images: only with stream"),
        (["fox"], "should be a valid dictionary"),
    ],
)
def test_mistakes_are_told_in_a_sentence(client: TestClient, body: Any, words: str) -> None:
    answer = client.post(GENERATIONS, json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize(("name", "value"), [("top_p", 0), ("cfg_scale", 0.5), ("size", "1x1"), ("n", 0)])
def test_a_mistake_names_its_parameter(client: TestClient, name: str, value: Any) -> None:
    error = client.post(GENERATIONS, json={"prompt": "fox", name: value}).json()["error"]
    assert error["param"] == name and error["message"].startswith(f"{name}: ")


NULLABLE = (
    "n",
    "size",
    "stream",
    "partial_images",
    "response_format",
    "output_format",
    "background",
    "quality",
    "seed",
)


def test_null_is_what_is_left_out(client: TestClient) -> None:
    body = {"prompt": "fox", "moderation": None, "user": None, **dict.fromkeys(NULLABLE)}
    answer = client.post(GENERATIONS, json=body)
    assert (answer.status_code, len(answer.json()["data"])) == (200, 1)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none(client: TestClient, number: str) -> None:
    body = f'{{"prompt": "fox", "temperature": {number}}}'
    answer = client.post(GENERATIONS, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "temperature: expected a finite number" in answer.text) == (400, True)


def test_no_json(client: TestClient) -> None:
    answer = client.post(GENERATIONS, content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "the body is not JSON")


def test_another_model_is_not_found(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'dall-e-3' here, but 'tiny'"):
        openai_client.images.generate(prompt="fox", model="dall-e-3")


@pytest.mark.parametrize(
    ("form", "files", "words"),
    [
        ({"prompt": "fox"}, {}, "expected multipart/form-data"),
        ({}, {"image": ("x.png", b"no picture")}, "x.png: not a picture"),
        ({}, {"image": ("x.png", png()[:-30])}, "x.png: the picture is damaged or cut off"),
        ({}, {"image": ("x.png", b"")}, "x.png: not a picture"),
        ({}, {"image": ("x.ico", icon())}, "x.ico: not a picture"),
        ({}, {"image": ("bomb.png", bomb())}, "bomb.png: too large to open safely"),
        ({}, {"mask": ("x.png", png())}, "unexpected file 'mask'"),
        ({"image": "x"}, {"other": ("x.png", png())}, "unexpected text 'image'"),
        ({"subject": ["a", "b"]}, {"image": ("x.png", png())}, "one subject for each image, got 2 subject(s) for 1"),
        ({"prompt": "<image> <image>"}, {"image": ("x.png", png())}, "marks 2 image(s)"),
        ({"task": "paint"}, {"image": ("x.png", png())}, "task: Input should be"),
        ({"n": "x"}, {"image": ("x.png", png())}, "n: Input should be a valid integer"),
        ({"colour": "red"}, {"image": ("x.png", png())}, "unknown parameter 'colour'"),
        ({"seed": ["1", "2"]}, {"image": ("x.png", png())}, "'seed' comes twice"),
        ({"subject": "x" * 201}, {"image": ("x.png", png())}, "subject.0: String should have at most 200"),
        ({"subject": ["a"] * 33}, {"image": ("x.png", png())}, "subject: List should have at most 32"),
        ({"prompt": "x" * 70_000}, {"image": ("x.png", png())}, "Part exceeded maximum size of 64KB"),
        ({}, [("image", ("x.png", b"never looked at"))] * 7, "expected at most 6 images, got 7"),
        ({}, {"image": ("x.png", png(size=(8000, 7000)))}, "x.png: too large to open safely (8000 x 7000 pixels)"),
    ],
)
def test_mistakes_with_pictures(client: TestClient, form: Any, files: Any, words: str) -> None:
    answer = client.post(EDITS, data=form, files=files)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_too_many_files(client: TestClient) -> None:
    answer = client.post(EDITS, files=[("image", ("x.png", png()))] * 33)
    assert (answer.status_code, "Too many files" in answer.text) == (400, True)


def test_an_empty_subject_is_none(client: TestClient) -> None:
    answer = client.post(EDITS, data={"subject": ""}, files={"image": ("x.png", png())})
    assert answer.status_code == 200


@pytest.mark.parametrize(("inside", "status"), [(16, 200), (127, 200), (128, 429)])
def test_only_so_many_send_pictures_at_once(client: TestClient, inside: int, status: int) -> None:
    readers = client.app.state.service.readers  # type: ignore[attr-defined]
    readers._inside += inside
    try:
        answer = client.post(EDITS, files={"image": ("x.png", png())})
    finally:
        readers._inside -= inside
    assert (answer.status_code, "send pictures already" in answer.text) == (status, status == 429)


def test_what_is_sent_lies_on_the_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk: list[bool] = []

    def look(body: object, files: list[Any], pipeline: object) -> None:
        on_disk.extend(upload.file._rolled for upload in files)
        raise ApiError(400, "seen")

    monkeypatch.setattr("mentor.serving.uploads._prompt", look)
    client.post(EDITS, files=[("image", ("small.png", png())), ("image", ("large.png", bytes(100_000)))])
    assert on_disk == [False, True]


@pytest.fixture
def broken(pipeline: MentorPipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A server whose model fails."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("secret details")

    monkeypatch.setattr(pipeline, "generate", fail)
    with TestClient(create_app(pipeline)) as client:
        yield client


def test_the_servers_own_failures_are_not_told_in_detail(broken: TestClient) -> None:
    answer = broken.post(GENERATIONS, json={"prompt": "fox"})
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    assert broken.get("/health").status_code == 200


def test_a_server_that_only_fails_is_not_healthy_until_it_draws_again(
    broken: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert broken.post(GENERATIONS, json={"prompt": "fox"}).status_code == 500
    told = broken.get("/health")
    assert (told.status_code, told.json()) == (503, {"status": "failing"})
    monkeypatch.undo()
    assert broken.post(GENERATIONS, json={"prompt": "fox"}).status_code == 200
    assert broken.get("/health").status_code == 200


def test_a_failure_after_the_answer_began_is_told_in_the_stream(broken: TestClient) -> None:
    answer = broken.post(GENERATIONS, json={"prompt": "fox", "stream": True})
    assert answer.status_code == 200
    (told,) = events(answer.text)
    assert list(told) == ["type", "error"] and told["type"] == "error"


def test_the_servers_own_mistake_in_a_stream_is_in_its_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> bytes:
        raise RuntimeError("secret details")

    monkeypatch.setattr("mentor.serving.images.png_bytes", fail)
    answer = client.post(GENERATIONS, json={"prompt": "fox", "stream": True})
    assert events(answer.text)[0]["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "secret details" in caplog.text


def test_json_without_its_header_is_told_which(client: TestClient) -> None:
    answer = client.post(GENERATIONS, content=b'{"prompt": "fox"}')
    assert (answer.status_code, "Content-Type: application/json" in answer.text) == (400, True)


def test_a_full_server_says_when_to_come_back(pipeline: MentorPipeline) -> None:
    with TestClient(create_app(pipeline, ServeSettings(max_queue=4, max_images=4))) as client:
        client.app.state.service.queue.settings = ServeSettings(max_queue=1, max_images=1)  # type: ignore[attr-defined]
        answer = client.post(GENERATIONS, json={"prompt": "fox", "n": 4})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_the_models_own_settings_are_told(client: TestClient, openai_client: openai.OpenAI) -> None:
    assert [model.id for model in openai_client.models.list()] == ["tiny"]
    assert openai_client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("other")
    told = client.get("/v1/models").json()["data"][0]
    assert told["generation"]["cfg_scale"] == GenerationSettings().cfg_scale
    assert told["limits"]["n"] == 4
