"""Released checkpoints by their hub names: converted on first use, once, whoever asks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from mentor.checkpoint import released
from mentor.checkpoint.hub import HubOptions, locate
from mentor.checkpoint.hub_parts import FLAN_T5
from mentor.checkpoint.layout import CARD, read_config
from mentor.checkpoint.store import load_bundle
from tests.checkpoint.official_files import ARGS, TINY, language_folder, random_weights, save, save_tokenizer
from tests.checkpoint.test_hub import NEW, OFFLINE, OLD, cache, put

__all__ = ["cache"]
NAME = "BleachNick/Mentor"


@pytest.fixture
def repository(cache: Path, tmp_path: Path) -> Path:
    """The repository as it was released, small, and FLAN-T5's tokenizer, both in the hub's cache."""
    raw = tmp_path / "raw"
    raw.mkdir()
    save(raw / "stage2.pt", random_weights(TINY), args=ARGS)
    save_tokenizer(raw / "vq_ds16_t2i.pt")
    (raw / "README.md").write_text("MENTOR")
    put(cache, FLAN_T5, OLD, language_folder(tmp_path / "words", weights=False), main=OLD)
    return put(cache, NAME, NEW, raw, main=NEW)


def test_a_released_repository_is_a_model_like_any_other(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(NAME, local_files_only=True)
    assert bundle.config == TINY
    name = "layers.0.feed_forward.w1.weight"
    assert torch.equal(bundle.mentor.decoder.state_dict()[name], random_weights(TINY)[name])
    monkeypatch.setattr(released, "convert_model", lambda *_: pytest.fail("converted again"))
    assert load_bundle(NAME, local_files_only=True).config == TINY


def test_processes_that_ask_at_the_same_time_convert_it_once(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, convert = [], released.convert_model

    def slowly(*arguments: object) -> object:
        calls.append(arguments)
        time.sleep(0.2)
        return convert(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(released, "convert_model", slowly)
    with ThreadPoolExecutor(3) as pool:
        places = list(pool.map(lambda _: locate(NAME, OFFLINE), range(3)))
    assert len(calls) == 1
    assert len(set(places)) == 1 and read_config(places[0]) == TINY


def test_a_broken_line_is_no_reason_to_take_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def broken(name: str, hub: HubOptions, revision: str | None, patterns: list[str]) -> Path:
        asked.append(patterns)
        if CARD in patterns:
            raise ValueError("no such snapshot")
        raise ValueError("the connection broke")

    monkeypatch.setattr(released, "download", broken)
    with pytest.raises(ValueError, match="the connection broke"):
        locate(NAME, HubOptions())
    assert asked[1:] == [["stage2.pt"]]


def test_another_stage_is_not_taken_for_the_released_one(repository: Path) -> None:
    (repository / "stage2.pt").rename(repository / "stage1.pt")
    with pytest.raises(ValueError, match=r"has no file stage2\.pt"):
        locate(NAME, OFFLINE)


def test_what_a_conversion_warns_of_is_told(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = released.convert_model

    def warned(*arguments: object) -> object:
        report = convert(*arguments)  # type: ignore[arg-type]
        report.warnings.append("two word embeddings")
        return report

    monkeypatch.setattr(released, "convert_model", warned)
    with pytest.warns(UserWarning, match="BleachNick/Mentor: two word embeddings"):
        locate(NAME, OFFLINE)


def test_a_file_that_is_missing_is_named(repository: Path) -> None:
    (repository / "vq_ds16_t2i.pt").unlink()
    with pytest.raises(ValueError, match=f"{NAME} has no file vq_ds16_t2i.pt or"):
        locate(NAME, HubOptions(local_files_only=True))
