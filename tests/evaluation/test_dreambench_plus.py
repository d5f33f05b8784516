"""DreamBench++: known judges give known numbers; what is missing changes the denominator as documented."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mentor
from mentor.cli.main import main
from mentor.evaluation.agreement import read_judge
from mentor.evaluation.dreambench_plus import BENCHMARK, choose_judge
from mentor.evaluation.dreambench_plus_data import read_collections, write_tree
from mentor.evaluation.protocol import Item, JudgeSettings, Source, Tools
from mentor.evaluation.rubrics import own_rubrics
from mentor.vlm.client import ModelDown, Turn
from tests.evaluation.test_rubrics import write_official
from tests.vlm.model_server import Answer, ModelServer, model_server

SAMPLE = Source(Path(mentor.__file__).parent / "assets" / "samples" / "dreambench_plus", sample=True)
PICTURE = Image.new("RGB", (32, 32), "green")
RUBRICS = own_rubrics()


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return BENCHMARK.items(SAMPLE)


def is_pf(body: dict[str, Any]) -> bool:
    return body["messages"][0]["content"] == RUBRICS["text"].text


def ask(
    server: ModelServer,
    folder: Path,
    items: list[Item],
    pictures: list[Image.Image | None] | None = None,
    *,
    preset: str | None = None,
    **settings: Any,
) -> Any:
    judge = JudgeSettings(url=server.url, model="pinned", **{"passes": 1, "retries": 0, **settings})
    tools = Tools(SAMPLE, folder, preset=preset, judge=judge)
    return BENCHMARK.score(items, pictures or [PICTURE] * len(items), tools)


def test_items_have_the_official_keys_and_groups(items: list[Item]) -> None:
    assert len(items) == 45
    first = items[0]
    assert first.key == "live_subject_animal_00_cat/0_0"
    assert first.prompt.text == f"The cat in <image>.\n{first.text}" and first.prompt.images == first.references
    assert Counter(item.groups["prompt_type"] for item in items) == {
        "photorealistic": 20,
        "style_transfer": 15,
        "imaginative": 10,
    }
    assert [item.groups["prompt_type"] for item in items[:9]] == sorted(
        (item.groups["prompt_type"] for item in items[:9]),
        key=("photorealistic", "style_transfer", "imaginative").index,
    )
    assert Counter(item.groups["category"] for item in items) == {"animal": 9, "human": 9, "object": 18, "style": 9}
    assert len({item.key for item in items}) == len({item.seed for item in items}) == 45


def test_a_judge_that_always_says_4_gives_1(items: list[Item], tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer("Score: 4")) as server:
        scores = ask(server, tmp_path, items, passes=2, price_in=5.0, price_out=15.0)
        assert len(server.requests) == 45 * 2 * 2
        again = ask(server, tmp_path, items, passes=2)
        assert len(server.requests) == 45 * 2 * 2  # a second run asks nothing
    judged = [name for name in BENCHMARK.columns if name not in ("dino", "dinov2", "clip_i", "clip_t")]
    assert {name: scores.summary[name] for name in judged} == dict.fromkeys(judged, 1.0)
    assert set(scores.summary["std"].values()) == {0.0}
    assert scores.summary["denominators"]["cp"] == [45, 45] and scores.summary["denominators"]["style"] == [9, 9]
    assert all(record.failure is None and record.numbers["cp"] == 1 for record in scores.records)
    usage = scores.summary["judge"]["usage"]
    assert usage["asked"] == 180 and usage["cost"] == pytest.approx((180 * 1000 * 5 + 180 * 20 * 15) / 1e6)
    assert again.summary["judge"]["usage"]["asked"] == 0
    assert scores.backbones["judge"] == "pinned" and "own words" in scores.backbones["rubrics"]
    assert scores.summary["judge"]["temperature"] == 1.0 and scores.summary["judge"]["seed"] is None
    json.dumps(scores.summary, allow_nan=False)


def test_what_the_judge_is_shown(items: list[Item], tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer("Score: 1" if is_pf(body) else "Score: 2")) as server:
        ask(server, tmp_path, [items[0], items[-1]], threads=1)
    cp, pf, style_cp, style_pf = (body["messages"] for body in server.requests)
    assert [turn["role"] for turn in cp] == ["user", "assistant", "user"]
    assert cp[0]["content"] == RUBRICS["subject"].text and style_cp[0]["content"] == RUBRICS["style"].text
    assert pf[0]["content"] == style_pf[0]["content"] == RUBRICS["text"].text
    assert [part["type"] for part in cp[2]["content"]] == ["image_url", "image_url"]  # no text
    assert pf[2]["content"][0] == {"type": "text", "text": items[0].text}
    assert [part["type"] for part in pf[2]["content"]] == ["text", "image_url"]  # no reference
    shown = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in cp[2]["content"]]
    reference, made = (Image.open(io.BytesIO(data)).getpixel((5, 5)) for data in shown)
    assert reference[0] < 100 and reference[2] > 200  # the cat stands on cyan
    assert made[0] < 10 and made[1] > 110 and made[2] < 10


def test_means_products_and_spread_over_passes(items: list[Item], tmp_path: Path) -> None:
    # Pass by pass: CP 4 for animals and 2 or 1 for others; PF 3 or 1.
    chosen = [items[0], items[9], items[18]]
    answers = {(0, "a"): 4, (0, "o"): 2, (0, "p"): 3, (1, "a"): 4, (1, "o"): 1, (1, "p"): 1}

    def answer(number: int, body: dict[str, Any]) -> Answer:
        place = number % 6
        kind = "p" if is_pf(body) else "a" if place == 0 else "o"
        return Answer(f"Score: {answers[number // 6, kind]}")

    with model_server(answer) as server:
        scores = ask(server, tmp_path, chosen, passes=2, threads=1)
    cp, pf = [(4 + 2 + 2) / 12, (4 + 1 + 1) / 12], [3 / 4, 1 / 4]
    summary = scores.summary
    assert summary["passes"]["cp"] == pytest.approx(cp) and summary["passes"]["pf"] == pytest.approx(pf)
    assert summary["cp"] == pytest.approx(sum(cp) / 2) and summary["pf"] == pytest.approx(0.5)
    assert summary["std"]["cp"] == pytest.approx(abs(cp[0] - cp[1]) / 2**0.5)  # n - 1, as the official scripts
    assert summary["cp_pf"] == pytest.approx(sum(cp) / 2 * 0.5)
    assert summary["cp_over_pf"] == pytest.approx(sum(cp) / 2 / 0.5)
    assert summary["animal"] == 1.0 and summary["human"] == summary["object"] == pytest.approx(1.5 / 4)
    assert "style" not in summary and "imaginative" not in summary  # nothing of the kind was judged
    assert summary["groups"]["category"]["human"] == {"items": 1, "cp": pytest.approx(0.375), "pf": 0.5}
    assert scores.records[1].numbers == pytest.approx(
        {"cp": 0.375, "cp_pass_1": 0.5, "cp_pass_2": 0.25, "pf": 0.5, "pf_pass_1": 0.75, "pf_pass_2": 0.25}
        | {"human": 0.375, "photorealistic": 0.5}  # the columns that the item counts in
    )


def test_failures_stay_in_the_denominator_or_leave_it(items: list[Item], tmp_path: Path) -> None:
    def answer(number: int, body: dict[str, Any]) -> Answer:
        text = body["messages"][2]["content"][0].get("text", "")
        if not is_pf(body):
            return Answer("Score: 4")
        return Answer({items[1].text: "I would rather not.", items[2].text: "Score: 9"}.get(text, "Score: 3"))

    chosen: list[Item] = items[:5]
    pictures: list[Image.Image | None] = [PICTURE] * 4 + [None]
    with model_server(answer) as server:
        counted = ask(server, tmp_path, chosen, pictures)
        asked = len(server.requests)
        official = ask(server, tmp_path, chosen, pictures, preset="official")
        assert len(server.requests) == asked == 8 + 2 * 2  # two questions were tried three times
    assert counted.summary["cp"] == pytest.approx(4 / 5) and counted.summary["pf"] == pytest.approx(2 * 0.75 / 5)
    assert counted.summary["denominators"]["pf"] == counted.summary["denominators"]["cp"] == [5]
    assert official.summary["cp"] == 1.0 and official.summary["pf"] == pytest.approx(0.75)
    assert official.summary["denominators"]["pf"] == [2] and official.summary["denominators"]["cp"] == [4]
    failures = [record.failure for record in counted.records]
    assert failures == [
        None,
        "PF: the answer has no score (3 tries)",
        "PF: the answer's score 9 is not a whole number from 0 to 4 (3 tries)",
        None,
        "there is no picture",
    ]
    assert [record.failure for record in official.records] == failures
    assert sum(counted.summary["judge"]["failures"].values()) == 3
    assert any("3 missing picture(s) or score(s) count as 0" in note for note in counted.notes)
    assert any("3 missing picture(s) or score(s) are left out" in note for note in official.notes)
    assert "pf" not in official.records[1].numbers and counted.records[1].numbers["pf"] == 0


def test_official_categories_are_found_by_substring(items: list[Item], tmp_path: Path) -> None:
    odd = replace(items[-1], key="style_01_animal_print/0_0")
    with model_server(lambda number, body: Answer("Score: 4" if number < 2 else "Score: 2")) as server:
        exact = ask(server, tmp_path, [items[0], odd], threads=1)
        official = ask(server, tmp_path, [items[0], odd], preset="official", threads=1)
    assert exact.summary["animal"] == 1.0 and official.summary["animal"] == 0.75


def test_a_judge_that_is_down_is_an_error_and_its_answers_are_kept(items: list[Item], tmp_path: Path) -> None:
    limit = 10
    with model_server(lambda number, body: Answer() if number < limit else Answer(status=500)) as server:
        with pytest.raises(ModelDown, match="10 are finished.*run again to go on"):
            ask(server, tmp_path, items, threads=2)
        before, limit = len(server.requests), 10_000
        assert ask(server, tmp_path, items).summary["cp"] == 1.0
        assert len(server.requests) - before == 80


def test_a_judge_that_never_gives_a_score_is_an_error(items: list[Item], tmp_path: Path) -> None:
    with (
        model_server(lambda number, body: Answer("no comment")) as server,
        pytest.raises(ValueError, match="gave no valid score to 4 questions"),
    ):
        ask(server, tmp_path, items[:2])


def test_pictures_are_needed(items: list[Item], tmp_path: Path) -> None:
    with (
        model_server(lambda number, body: Answer()) as server,
        pytest.raises(ValueError, match="no picture at all"),
    ):
        ask(server, tmp_path, items[:2], [None, None])


def test_the_sample_runs_offline_with_the_stand_in(items: list[Item], tmp_path: Path) -> None:
    tools = Tools(SAMPLE, tmp_path, preset="failures-count+metrics", judge=JudgeSettings(passes=1))
    copied = BENCHMARK.score(items, [item.references[0] for item in items], tools)
    blank = BENCHMARK.score(items, [Image.new("RGB", (64, 64), "black")] * len(items), tools)
    assert copied.summary["cp"] == 1.0 > 0.4 > blank.summary["cp"]
    assert copied.summary["dino"] == copied.summary["clip_i"] == pytest.approx(1, abs=1e-6)
    assert blank.summary["dino"] < 0.9 and "clip_t" in blank.summary["intervals"]
    assert "stand-in" in copied.backbones["judge"] and "stand-in" in copied.backbones["dino"]
    assert any("stand-in" in note for note in copied.notes)
    assert any("45 items instead of 1350" in note for note in copied.notes)
    assert {"cp", "cp_pass_1", "pf", "dino", "clip_t"} <= set(copied.records[0].numbers)


def test_official_rubrics_and_their_settings(items: list[Item], tmp_path: Path) -> None:
    write_official(tmp_path, "full")
    with model_server(lambda number, body: Answer()) as server:
        full = ask(server, tmp_path, items[:1], rubrics=tmp_path, threads=1)
        single = ask(server, tmp_path, items[:1], rubrics=tmp_path, threads=1, rubric_setting="wo_internal_thinking")
    sent = [body["messages"] for body in server.requests]
    assert [turn["content"] for turn in sent[0][:2]] == ["rubric subject full", "consent subject full"]
    assert [len(messages) for messages in sent] == [3, 3, 1, 1]  # other words are another question: none was kept
    assert "official" in full.summary["judge"]["rubrics"] and "wo_internal_thinking" in single.backbones["rubrics"]


def test_the_command_judges_a_tree_of_ready_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_KEY", "hidden-key")
    collections = read_collections(SAMPLE)
    pictures: list[Image.Image | None] = [PICTURE] * 45
    pictures[44] = None
    write_tree(tmp_path / "samples" / "rival", collections, pictures)
    out = tmp_path / "out"
    words = [
        "evaluate",
        "dreambench_plus",
        "--sample",
        "--pictures",
        str(tmp_path / "samples" / "rival"),
        "--out",
        str(out),
    ]
    judged = [
        "--judge-model",
        "pinned",
        "--judge-key-variable",
        "SOME_KEY",
        "--judge-passes",
        "1",
        "--preset",
        "official",
    ]
    with model_server(lambda number, body: Answer()) as server:
        assert main([*words, *judged, "--judge-url", server.url]) == 0
    assert "Judge pinned, 1 pass(es)" in capsys.readouterr().out
    run = json.loads((out / "run.json").read_text())
    assert run["summary"]["cp_pf"] == 1.0 and run["summary"]["denominators"]["cp"] == [44]
    assert run["failures"] == 1 and run["data"]["sha256"] == SAMPLE.checksum()
    written = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert server.headers[0]["Authorization"] == "Bearer hidden-key"
    assert not any(b"hidden-key" in data for data in written)
    ratings = read_judge(out, "")["cp"]
    assert len(ratings) == 1 and set(ratings[0].values()) == {4.0} and "object_01_top_hat-8" in ratings[0]


def test_the_command_asks_for_a_judge_before_it_paints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "dreambench_plus", "--data", str(SAMPLE.folder), "--baseline", "copy_reference"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "--judge-url: name the judge" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "images").iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (JudgeSettings(), "needs a judge"),
        (JudgeSettings(url="localhost:8000"), "http://"),
        (JudgeSettings(url="local", model="/nowhere/at/all"), "cannot be loaded"),
    ],
)
def test_judges_that_cannot_be_asked(settings: JudgeSettings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_judge(settings, sample=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tools: replace(tools, preset="other"), "expected one of failures-count"),
        (lambda tools: replace(tools, judge=JudgeSettings(passes=0)), "passes: expected 1"),
        (lambda tools: replace(tools, judge=JudgeSettings(retries=-1)), "retries: expected 0"),
        (lambda tools: replace(tools, judge=JudgeSettings(rubrics=Path("/nowhere"))), "dreambench_plus/prompts"),
    ],
)
def test_wrong_settings(change: Callable[[Tools], Tools], message: str, items: list[Item], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        BENCHMARK.score(items, [PICTURE] * len(items), change(Tools(SAMPLE, tmp_path)))


def test_published_rows_stand_under_our_columns(items: list[Item], tmp_path: Path) -> None:
    with model_server(lambda number, body: Answer()) as server:
        rows = ask(server, tmp_path, items[:9]).published
    assert {name for row in rows for name in row.numbers} <= set(BENCHMARK.columns)
    assert any(row.label == "MENTOR" and row.numbers["cp_pf"] == 0.47 for row in rows)


def test_the_key_is_read_from_the_named_variable_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "hidden-key")
    with model_server(lambda number, body: Answer(status=401)) as server:
        judge = choose_judge(JudgeSettings(url=server.url, model="pinned", key_variable="SOME_KEY"), sample=False)
        with pytest.raises(ModelDown, match=r"the key in \$SOME_KEY was not accepted") as caught:
            judge.ask((Turn("user", "a fox"),), 0)
    assert server.headers[0]["Authorization"] == "Bearer hidden-key"
    assert "hidden-key" not in str(caught.value) + repr(judge) + json.dumps(dict(judge.settings))
