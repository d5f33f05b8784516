"""Many questions: scores read from words, answers kept, trouble retried, a judge that is down."""

from __future__ import annotations

import io
import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mentor.evaluation.panel import Panel, Question, encode_image, parse_score
from mentor.vlm.client import Endpoint, ModelDown, Turn
from tests.vlm.model_server import Answer, model_server


def questions(count: int) -> list[Question]:
    return [Question((Turn("user", f"question {number}"),)) for number in range(count)]


def asked(body: dict[str, Any]) -> int:
    return int(body["messages"][0]["content"].split()[-1])


def panel(url: str, folder: Path, *, threads: int = 4, retries: int = 3, timeout: float = 20, **options: Any) -> Panel:
    judge = Endpoint(url, "pinned", threads=threads, timeout=timeout)
    return Panel(judge, folder, retries=retries, pause=0.01, **options)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 4", 4),
        ("It agrees well.\nscore: 0", 0),
        ("Score: the 3", 3),
        ("**Score:** 2", 2),
        ("**Score: 1**", 1),
        ("Score: 4/4", 4),
        ("My score is high. Score: 3.", 3),
    ],
)
def test_one_score_is_read(text: str, score: int) -> None:
    assert parse_score(text) == score


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no score"),
        ("I cannot judge people.", "no score"),
        ("Score: -1", "no score"),
        ("Score: 3\nScore: 4", "2 scores"),
        ("Score: 5", "score 5 is not"),
        ("Score: 40", "score 40 is not"),
        ("Score: 3.5", "score 3.5 is not"),
    ],
)
def test_other_answers_have_no_score(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_score(text)


@given(st.text())
def test_any_text_is_a_score_in_range_or_an_error(text: str) -> None:
    for said in (text, f"Score: {text}"):
        with suppress(ValueError):
            assert parse_score(said) in range(5)


def test_answers_are_in_order_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer(f"Score: {asked(body) % 5}", delay=0.02)) as server:
        first = panel(server.url, tmp_path)
        verdicts = first.ask(questions(12))
        assert [verdict.score for verdict in verdicts] == [number % 5 for number in range(12)]
        assert len(server.requests) == 12 and 1 < server.busiest <= 4
        assert first.usage.described(2.5, 10.0) == {
            "answers": 12,
            "asked": 12,
            "prompt_tokens": 12000,
            "completion_tokens": 240,
            "new_prompt_tokens": 12000,
            "new_completion_tokens": 240,
            "cost": pytest.approx((12000 * 2.5 + 240 * 10) / 1e6),
            "new_cost": pytest.approx((12000 * 2.5 + 240 * 10) / 1e6),
        }
        second = panel(server.url, tmp_path)
        assert second.ask(questions(12)) == verdicts
        assert len(server.requests) == 12
    described = second.usage.described(2.5, 10.0)
    assert (described["asked"], described["new_cost"]) == (0, 0)
    assert described["cost"] == pytest.approx((12000 * 2.5 + 240 * 10) / 1e6)
    assert dict(second.served) == {"judge-2026-01-01": 12}


def test_the_raw_answer_lies_on_disk_with_its_seed_and_temperature(tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer("Good.\nScore: 2")) as server:
        panel(server.url, tmp_path, seed=3).ask(questions(1))
    (path,) = tmp_path.rglob("*.json")
    kept = json.loads(path.read_text())
    assert kept["reply"]["text"] == "Good.\nScore: 2" and kept["model"] == "pinned"
    assert kept["settings"]["temperature"] == 1.0 and (kept["pass"], kept["try"]) == (0, 0)
    assert kept["seed"] == server.requests[0]["seed"]


def test_each_pass_asks_anew_with_another_seed(tmp_path: Path) -> None:
    question = questions(1)[0]
    passes = [Question(question.dialogue, judge_pass) for judge_pass in range(3)]
    with model_server(lambda number, body: Answer(f"Score: {number}")) as server:
        scores = [verdict.score for verdict in panel(server.url, tmp_path, threads=1, seed=0).ask(passes)]
        seeds = [body["seed"] for body in server.requests]
        assert scores == [0, 1, 2] and len(set(seeds)) == 3
        # The same seed asks the same things again elsewhere; another seed asks others.
        panel(server.url, tmp_path / "again", threads=1, seed=0).ask(passes)
        panel(server.url, tmp_path, threads=1, seed=1).ask(passes)
    assert [body["seed"] for body in server.requests[3:6]] == seeds
    assert not set(seeds) & {body["seed"] for body in server.requests[6:]}


def test_equal_questions_are_draws_of_their_own(tmp_path: Path) -> None:
    same = questions(1) * 3
    with model_server(lambda number, body: Answer(f"Score: {number}")) as server:
        verdicts = panel(server.url, tmp_path).ask(same)
        assert sorted(verdict.score or 0 for verdict in verdicts) == [0, 1, 2]
        assert panel(server.url, tmp_path).ask(same) == verdicts and len(server.requests) == 3


def test_what_an_answer_depends_on_makes_another_question(tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer()) as server:
        for name, temperature in (("one", 1.0), ("two", 1.0), ("two", 0.0)):
            Panel(Endpoint(server.url, name, temperature=temperature), tmp_path).ask(questions(1))
        Panel(Endpoint(server.url, "one"), tmp_path).ask([Question((Turn("user", "question 0", (b"picture",)),))])
    assert len(server.requests) == 4


def test_garbage_is_asked_again_and_then_counted(tmp_path: Path) -> None:
    tries: dict[int, int] = {}

    def answer(number: int, body: dict[str, Any]) -> Answer:
        question = asked(body)
        tries[question] = tries.get(question, 0) + 1
        if question == 1:  # comes to its senses
            return Answer("Score: 7" if tries[question] < 3 else "Score: 1")
        return Answer({0: "Score: 4", 2: "hm", 3: "Score: 1, no, Score: 2"}[question])

    with model_server(answer) as server:
        first = panel(server.url, tmp_path)
        verdicts = first.ask(questions(4))
        assert tries == {0: 1, 1: 3, 2: 3, 3: 3}
        assert panel(server.url, tmp_path).ask(questions(4)) == verdicts
        assert len(server.requests) == 10  # failures are kept too: nothing is asked twice
    assert [verdict.score for verdict in verdicts] == [4, 1, None, None]
    assert verdicts[2].failure == "the answer has no score (3 tries)"
    assert verdicts[3].failure == "the answer has 2 scores (3 tries)"
    assert first.usage.answers == first.usage.asked == 10


def test_errors_and_silence_are_asked_again_until_they_end(tmp_path: Path) -> None:
    trouble = {0: Answer(status=500), 1: Answer(delay=0.8), 2: Answer(body=b"<html>"), 3: Answer("Score: 3")}
    with model_server(lambda number, body: trouble[number]) as server:
        (verdict,) = panel(server.url, tmp_path, retries=3, timeout=0.5).ask(questions(1))
    assert verdict.score == 3 and len(server.requests) == 4
    assert len({body["seed"] for body in server.requests}) == 1  # the same question, not another try


def test_one_question_that_is_refused_does_not_stop_the_others(tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        return Answer(status=400, body=b"content filter") if asked(body) == 2 else Answer()

    with model_server(answer) as server:
        verdicts = panel(server.url, tmp_path).ask(questions(5))
        assert [verdict.score for verdict in verdicts] == [4, 4, None, 4, 4]
        assert verdicts[2].silent and "content filter" in (verdicts[2].failure or "")
        panel(server.url, tmp_path).ask(questions(5))
    assert [asked(body) for body in server.requests[5:]] == [2]  # it has no answer, so it is asked next time


def test_a_judge_that_goes_down_is_an_error_and_what_it_said_is_kept(tmp_path: Path) -> None:
    answered = 6

    def answer(number: int, body: dict[str, Any]) -> Answer:
        return Answer(f"Score: {asked(body) % 5}") if number < answered else Answer(status=503)

    with model_server(answer) as server:
        with pytest.raises(ModelDown, match=r"judge is down: .*HTTP 503.*of 40 questions 6 are finished.*run again"):
            panel(server.url, tmp_path, threads=2, retries=1).ask(questions(40))
        assert len(list(tmp_path.rglob("*.json"))) == 6
        assert len(server.requests) < 40  # it was not asked everything before giving up
        before, answered = len(server.requests), 1000
        verdicts = panel(server.url, tmp_path).ask(questions(40))
        assert len(server.requests) - before == 34
    assert [verdict.score for verdict in verdicts] == [number % 5 for number in range(40)]


def test_questions_that_a_busy_judge_left_unanswered_are_no_zeros(tmp_path: Path) -> None:
    """Every third question meets a rate limit until its tries are used up; the others are answered in between."""
    throttled = True

    def answer(number: int, body: dict[str, Any]) -> Answer:
        return Answer(status=429) if throttled and asked(body) % 3 == 0 else Answer("Score: 3")

    with model_server(answer) as server:
        with pytest.raises(ValueError, match=r"10 of 30 questions were left unanswered.*HTTP 429.*run again"):
            panel(server.url, tmp_path, retries=1).ask(questions(30))
        accepted = panel(server.url, tmp_path, retries=0, accept_unanswered=True).ask(questions(30))
        assert [verdict.busy for verdict in accepted] == [number % 3 == 0 for number in range(30)]
        throttled, before = False, len(server.requests)
        verdicts = panel(server.url, tmp_path).ask(questions(30))
    assert len(server.requests) - before == 10  # only those
    assert [verdict.score for verdict in verdicts] == [3] * 30


def test_a_filter_that_refuses_many_questions_in_a_row_does_not_end_the_run(tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        refused = 10 <= asked(body) < 40
        return Answer(status=400, body=b"content_filter") if refused else Answer("Score: 1")

    with model_server(answer) as server:
        for _ in range(2):  # also when the first ones are only read from disk
            verdicts = panel(server.url, tmp_path, threads=2).ask(questions(50))
            assert [verdict.score for verdict in verdicts] == [1] * 10 + [None] * 30 + [1] * 10
            assert not any(verdict.busy for verdict in verdicts)


def test_a_judge_that_refuses_everything_ends_the_run(tmp_path: Path) -> None:
    with (
        model_server(lambda number, body: Answer(status=400, body=b"no pictures here")) as server,
        pytest.raises(ModelDown, match="no pictures here"),
    ):
        panel(server.url, tmp_path, threads=2).ask(questions(100))
    assert len(server.requests) < 20


def test_nobody_answers_at_all(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelDown, match=rf"{port}.*of 3 questions 0 are finished"):
        panel(f"http://127.0.0.1:{port}", tmp_path, retries=1).ask(questions(3))


def test_a_small_run_without_any_answer_is_an_error_too(tmp_path: Path) -> None:
    with (
        model_server(lambda number, body: Answer(status=500)) as server,
        pytest.raises(ModelDown, match="answered nothing.*HTTP 500"),
    ):
        panel(server.url, tmp_path, retries=0).ask(questions(2))


def test_a_wrong_key_stops_at_once(tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer(status=401)) as server, pytest.raises(ModelDown, match="refuses"):
        panel(server.url, tmp_path, threads=1).ask(questions(20))
    assert len(server.requests) == 1


def test_a_damaged_file_is_asked_again(tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer("Score: 1")) as server:
        panel(server.url, tmp_path).ask(questions(1))
        (path,) = tmp_path.rglob("*.json")
        path.write_text('{"reply": ')
        (verdict,) = panel(server.url, tmp_path).ask(questions(1))
    assert verdict.score == 1 and len(server.requests) == 2
    assert json.loads(path.read_text())["reply"]["text"] == "Score: 1"


def test_pictures_become_jpegs_of_512_pixels_whatever_their_shape() -> None:
    # Red above blue: squashed into a square, the border between them stays in the middle.
    picture = Image.new("RGBA", (300, 100), "red")
    picture.paste((0, 0, 255, 255), (0, 50, 300, 100))
    read = Image.open(io.BytesIO(encode_image(picture)))
    assert (read.format, read.size, read.mode) == ("JPEG", (512, 512), "RGB")
    red, blue = read.getpixel((256, 100)), read.getpixel((256, 400))
    assert red[0] > 240 and red[2] < 15 and blue[2] > 240 and blue[0] < 15
