from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mentor.evaluation.benchmarks import chosen, find_benchmark, find_source
from mentor.evaluation.dreambench_plus_data import PROMPT_TYPES
from mentor.evaluation.pictures import PictureStore, check_folder
from mentor.evaluation.protocol import Item
from mentor.evaluation.ready_made import find_pictures
from mentor.evaluation.results import item_digest, read_run
from mentor.evaluation.run import Author, evaluate, paint
from mentor.prompt import Prompt
from tests.evaluation.conftest import FakePainter
from tests.evaluation.toy import Toy, toy_items, toy_tools

GRAY = Image.new("RGB", (8, 8), (51, 51, 51))


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    check_folder(tmp_path / "out")
    return PictureStore(tmp_path / "out", batch_size=4)


def test_seeds_are_the_items_own_plus_the_runs(store: PictureStore) -> None:
    seen: list[int] = []
    painter = FakePainter(lambda prompt, seed: seen.append(seed) or GRAY)
    items = [Item("a", Prompt("a"), seed=3), Item("b", Prompt("b"), seed=5)]
    paint(items, lambda item: painter, store, 10)
    assert seen == [13, 15]


def test_a_refused_prompt_is_a_failure_and_the_rest_of_its_batch_is_drawn(store: PictureStore) -> None:
    def answer(prompt: Prompt, seed: int) -> Image.Image:
        if "number 2" in prompt.text:
            raise ValueError("the prompt is too long")
        return GRAY

    pictures = paint(toy_items(4), lambda item: FakePainter(answer), store, 0)
    assert [picture is None for picture in pictures] == [False, False, True, False]
    assert pictures.failures == {2: "the prompt is too long"}


def test_a_run_in_which_all_is_refused_is_a_mistake(store: PictureStore) -> None:
    def refuses(prompt: Prompt, seed: int) -> Image.Image:
        raise ValueError("the prompt is too long")

    with pytest.raises(ValueError, match="not one of the 3 prompts could be drawn; the first: the prompt is too long"):
        paint(toy_items(3), lambda item: FakePainter(refuses), store, 0)


def test_each_item_can_have_its_own_painter(store: PictureStore) -> None:
    painters = {
        name: FakePainter(lambda prompt, seed, light=light: Image.new("RGB", (8, 8), (light,) * 3), fingerprint=name)
        for name, light in (("0_thing", 10), ("1_thing", 200))
    }
    pictures = paint(toy_items(4), lambda item: painters[item.key.split("/")[0]], store, 0)
    lights = [picture.getpixel((0, 0))[0] for picture in pictures if picture is not None]
    assert lights == [10, 200, 10, 200]
    assert [painter.batches for painter in painters.values()] == [[2], [2]]


def test_everything_is_written_and_a_second_run_paints_nothing(store: PictureStore, tmp_path: Path) -> None:
    items, tools = toy_items(6), toy_tools(tmp_path, seed=4)
    painter = FakePainter(lambda prompt, seed: GRAY)
    author = Author("fake", "f" * 64, {"steps": 3})
    for _ in range(2):
        run = evaluate(Toy(), items, paint(items, lambda item: painter, store, 4), author, tools, store.folder)
    assert painter.calls == 6
    assert {"run.json", "items.jsonl", "report.md", "report.html"} <= {path.name for path in store.folder.iterdir()}
    saved = read_run(store.folder)
    assert saved.run == json.loads(json.dumps(run))
    assert (saved.run["benchmark"], saved.run["name"], saved.run["settings"]) == ("toy", "fake", {"steps": 3})
    assert saved.run["summary"]["cp"] == pytest.approx(0.2) and saved.run["failures"] == 0
    assert saved.run["data"]["sha256"] == tools.source.checksum() and saved.run["preset"] == "first"
    assert saved.run["seed"] == 4 and saved.run["seeds"] == [4] and "torch" in saved.run["versions"]
    first = saved.items[0]
    assert first["key"] == "0_thing/0_0" and first["numbers"]["cp"] == pytest.approx(0.2)
    assert first["item"] == item_digest(items[0]) and (store.folder / first["picture"]).is_file()


def test_missing_pictures_are_failures_with_their_reason(tmp_path: Path) -> None:
    items = toy_items(4)
    ready = tmp_path / "ready"
    for item in items[:2]:
        path = ready / f"{item.key}.png"
        path.parent.mkdir(parents=True)
        GRAY.save(path)
    (ready / "1_thing" / "1_0.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    check_folder(out)
    run = evaluate(Toy(), items, find_pictures(ready, items), Author("ready"), toy_tools(tmp_path), out)
    assert run["failures"] == 3 and run["summary"]["scored"] == 1
    lines = read_run(out).items
    assert [line["picture"] is None for line in lines] == [False, True, True, True]
    assert "not a picture" in lines[1]["failure"] and lines[2]["failure"] == "no picture in the folder"
    page = (out / "report.html").read_text()
    assert "Failures: 3" in page and page.index("Failures: 3") > page.index("How it was measured")
    assert "no picture in the folder" in (out / "report.md").read_text()


def test_a_judge_that_fails_leaves_the_pictures(store: PictureStore, tmp_path: Path) -> None:
    class Down(Toy):
        def score(self, items, pictures, tools):  # type: ignore[no-untyped-def]
            raise ValueError("the judge is down")

    items = toy_items(3)
    pictures = paint(items, lambda item: FakePainter(lambda prompt, seed: GRAY), store, 0)
    with pytest.raises(ValueError, match="the judge is down"):
        evaluate(Down(), items, pictures, Author("fake"), toy_tools(tmp_path), store.folder)
    assert len(list((store.folder / "images").iterdir())) == 3
    assert not (store.folder / "run.json").exists()


def test_a_part_of_the_items_is_one_of_each_equal_part() -> None:
    items = toy_items(6)
    taken = [items.index(item) for item in chosen(items, 3)]
    assert [place // 2 for place in taken] == [0, 1, 2]
    assert chosen(items, None) == chosen(items, 99) == items
    with pytest.raises(ValueError, match="1 item.s. twice"):
        chosen([items[0], items[0]], None)
    with pytest.raises(ValueError, match="no items"):
        chosen([], None)


@pytest.mark.parametrize("n", [90, 150, 300, 450, 600, 900])
def test_a_part_has_every_kind_of_prompt_where_prompts_come_in_a_fixed_order(n: int) -> None:
    """DreamBench++: nine prompts for each of 150 references. At equal distances 150 items would all be first prompts."""
    items = [Item(f"{number // 9}/{number % 9}", Prompt("a cat")) for number in range(1350)]
    taken = [item.key.split("/") for item in chosen(items, n)]
    kinds = Counter(PROMPT_TYPES[int(prompt)] for _, prompt in taken)
    for kind in set(PROMPT_TYPES):
        assert kinds[kind] / n == pytest.approx(PROMPT_TYPES.count(kind) / 9, abs=0.06)
    assert len({reference for reference, _ in taken}) == min(n, 150)


def test_a_data_set_that_is_one_zip_file_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "datasets--someone--set" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    with zipfile.ZipFile(snapshot / "data.zip", "w") as packed:
        packed.writestr("data/images/cat.txt", "cat")
        packed.writestr("data/../../escaped.txt", "outside")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    found = find_source(Toy(), "hub:someone/set").folder
    assert (found / "images" / "cat.txt").read_text() == "cat"
    (escaped,) = tmp_path.rglob("escaped.txt")
    assert found in escaped.parents
    (snapshot / "data.zip").write_bytes(b"not a zip any more")
    assert find_source(Toy(), "hub:someone/set").folder == found
    other = snapshot.with_name("def")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(other))
    other.mkdir()
    (other / "data.zip").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match="data.zip is damaged"):
        find_source(Toy(), "hub:someone/set")
    assert {path.name for path in (snapshot.parent.parent / "unpacked").iterdir()} == {"abc"}


def test_data_is_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy()
    assert find_source(toy, str(tmp_path)).folder == tmp_path
    sample = find_source(find_benchmark("dreambench_plus"), None, sample=True)
    assert sample.sample and sample.folder.is_dir()
    with pytest.raises(ValueError, match="no built-in sample"):
        find_source(toy, None, sample=True)
    with pytest.raises(ValueError, match="give --data DIR, or --sample"):
        find_source(toy, None)
    with pytest.raises(ValueError, match="--data hub .downloads yuangpeng/dreambench_plus"):
        find_source(find_benchmark("dreambench_plus"), None)
    with pytest.raises(ValueError, match="is no folder"):
        find_source(toy, str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no data set on the hub is known"):
        find_source(toy, "hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="the hub did not give the data set 'nobody/nothing'"):
        find_source(toy, "hub:nobody/nothing")


def test_the_hub_gives_data_sets_at_a_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str | None]]] = []

    def download(name: str, **options: str | None) -> str:
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    benchmark = find_benchmark("dreambench_plus")
    assert find_source(benchmark, "hub").folder == tmp_path
    find_source(benchmark, "hub:someone/else@abc")
    assert asked == [
        ("yuangpeng/dreambench_plus", {"repo_type": "dataset", "revision": None}),
        ("someone/else", {"repo_type": "dataset", "revision": "abc"}),
    ]
