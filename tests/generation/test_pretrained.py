"""Models from and to folders and the hub: number formats, what is written, what is passed on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from mentor import MentorPipeline
from mentor.checkpoint import adapters
from mentor.checkpoint.adapters import Adapter, merged
from mentor.checkpoint.hub import HubOptions
from mentor.checkpoint.layout import ASSETS
from mentor.checkpoint.store import Bundle
from mentor.checkpoint.tensors import read_tensors
from mentor.generation import pretrained
from mentor.models.mentor import Mentor
from mentor.nn.device import resolve_dtype
from tests.checkpoint.test_adapters import trained
from tests.generation.tiny_bundle import tiny_bundle


def mixed_bundle() -> Bundle:
    """A bfloat16 encoder and a float32 decoder, as the released model has them."""
    bundle = tiny_bundle()
    mentor = Mentor(replace(bundle.config, encoder_dtype="bfloat16", null_condition="frozen")).eval()
    mentor.load_state_dict(bundle.mentor.state_dict())
    return replace(bundle, config=mentor.config, mentor=mentor)


def types(pipeline: MentorPipeline) -> tuple[set[torch.dtype], ...]:
    parts = (pipeline.mentor.encoder, pipeline.mentor.decoder, pipeline.image_tokenizer)
    return tuple({weight.dtype for weight in part.parameters()} for part in parts)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("make", [tiny_bundle, mixed_bundle])
def test_saved_and_loaded_it_makes_the_same_picture(tmp_path: Path, make) -> None:
    first = MentorPipeline(make(), device="cpu")
    folder = first.save_pretrained(tmp_path / "tiny", card="Made by a test.")
    again = MentorPipeline.from_pretrained(folder, device="cpu")
    assert types(first) == types(again)
    one, two = (pipeline("a red fox", seed=1, cfg_scale=3.0).images[0] for pipeline in (first, again))
    assert one.tobytes() == two.tobytes()
    assert contents(again.save_pretrained(tmp_path / "again", card="Made by a test.")) == contents(folder)
    assert "Made by a test." in ModelCard.load(folder / "README.md").text
    (folder / "README.md").write_text("Mine.")
    kept = MentorPipeline.from_pretrained(folder, device="cpu").save_pretrained(tmp_path / "kept")
    assert (kept / "README.md").read_text() == "Mine.", "a card that somebody wrote is lost"


def test_what_was_read_from_few_bits_is_written_in_few(tmp_path: Path) -> None:
    shipped = ASSETS / "mini"
    folder = MentorPipeline.from_pretrained("mini", device="cpu").save_pretrained(tmp_path / "mini")
    for name in ("model.safetensors", "image_tokenizer.safetensors"):
        assert (folder / name).stat().st_size < 1.001 * (shipped / name).stat().st_size
        before, after = (read_tensors(where, name.removesuffix(".safetensors")) for where in (shipped, folder))
        assert all(torch.equal(before[key].float(), after[key].float()) for key in before)


def test_without_a_type_every_part_keeps_its_own(tmp_path: Path) -> None:
    pipeline = MentorPipeline(mixed_bundle(), device="cpu")
    assert types(pipeline) == ({torch.bfloat16}, {torch.float32}, {torch.float32})
    assert pipeline.dtype == torch.float32
    condition = pipeline.encode(pipeline.check_inputs("a red fox"))
    assert condition.states.dtype == torch.float32
    # Its numbers are those of bfloat16 all the same: the encoder ran in it.
    assert torch.equal(condition.states, condition.states.bfloat16().float())


@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_a_type_is_that_of_every_part(tmp_path: Path, name: str) -> None:
    folder = MentorPipeline(mixed_bundle(), device="cpu").save_pretrained(tmp_path / "tiny")
    dtype = resolve_dtype(name)
    for pipeline in (
        MentorPipeline.from_pretrained(folder, device="cpu", dtype=name),
        MentorPipeline(mixed_bundle(), device="cpu", dtype=name),
    ):
        assert types(pipeline) == ({dtype}, {dtype}, {dtype})
        assert pipeline.dtype == dtype
        assert pipeline("a red fox", cfg_scale=2.0).images[0].size == (32, 32)


def test_what_the_hub_is_asked_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = {}

    def load_bundle(name: str, **arguments: object) -> Bundle:
        asked.update(name=name, **arguments)
        return tiny_bundle()

    monkeypatch.setattr(pretrained, "load_bundle", load_bundle)
    options = {"revision": "v1", "cache_dir": tmp_path, "token": "secret", "local_files_only": True}
    MentorPipeline.from_pretrained("someone/tiny", device="cpu", dtype="bfloat16", **options)
    assert asked == {"name": "someone/tiny", "dtype": torch.bfloat16, **options}


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, bytes], str, dict[str, object]]]:
    """The folders that were pushed, the repositories and the settings."""
    calls = []

    def push_folder(folder: Path, repo_id: str, **settings: object) -> str:
        calls.append((contents(folder), repo_id, settings))
        return "https://commit"

    monkeypatch.setattr(pretrained, "push_folder", push_folder)
    return calls


SETTINGS = {"private": True, "token": "secret", "revision": "v1", "commit_message": "First", "create_pr": True}


def test_publishing_sends_the_folder_that_is_saved(pipeline: MentorPipeline, pushed, tmp_path: Path) -> None:
    folder = pipeline.save_pretrained(tmp_path / "tiny")
    assert not pushed
    assert pipeline.push_to_hub("someone/tiny", **SETTINGS) == "https://commit"
    assert pushed == [(contents(folder), "someone/tiny", SETTINGS)]


def test_saving_publishes_when_asked_to(pipeline: MentorPipeline, pushed, tmp_path: Path) -> None:
    folder = pipeline.save_pretrained(tmp_path / "tiny", push_to_hub=True, repo_id="someone/other", private=True)
    pipeline.save_pretrained(tmp_path / "tiny", push_to_hub=True)
    expected = [("someone/other", {"private": True}), ("tiny", {})]
    assert pushed == [(contents(folder), *each) for each in expected]
    with pytest.raises(ValueError, match="private: only with push_to_hub=True"):
        pipeline.save_pretrained(tmp_path / "tiny", private=True)


def test_an_adapter_changes_pictures_that_were_drawn_before_it(tmp_path: Path) -> None:
    """From the folder of a fine-tune or the adapter's own; weights that decode steps may have kept are read anew."""
    mentor = trained()
    Adapter.of(mentor).save(tmp_path / "final" / "adapter")
    wanted = MentorPipeline(replace(tiny_bundle(), mentor=merged(mentor)), device="cpu")("a red fox", seed=3)
    for folder in ("final", "final/adapter"):
        pipeline = MentorPipeline(tiny_bundle(), device="cpu")
        before = pipeline("a red fox", seed=3).images[0]
        assert pipeline.load_adapter(tmp_path / folder) is pipeline
        assert pipeline("a red fox", seed=3).images[0].tobytes() == wanted.images[0].tobytes() != before.tobytes()
    with pytest.raises(ValueError, match="expected a folder, or a name of the hub"):
        pipeline.load_adapter("nowhere")
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        pipeline.load_adapter(tmp_path)


def test_an_adapter_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Adapter.of(trained()).save(tmp_path / "there")
    asked: list[tuple[object, ...]] = []

    def download(name: str, options: HubOptions, revision: str | None, patterns: list[str]) -> Path:
        asked.append((name, revision, patterns))
        return tmp_path / "there"

    monkeypatch.setattr(adapters, "download", download)
    MentorPipeline(tiny_bundle(), device="cpu").load_adapter("someone/mug@v2")
    assert asked == [("someone/mug", "v2", ["adapter_config.json", "adapter_model.safetensors"])]
