"""Hub repositories of released checkpoints: the preferred files, converted once a commit, from a cache without a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mentor.checkpoint.layout import read_config
from mentor.checkpoint.released import RAW, convert_released
from mentor.checkpoint.store import load_bundle
from tests.checkpoint.official_files import (
    ARGS,
    TINY,
    TINY_LLAMAGEN,
    language_folder,
    random_weights,
    save,
    save_tokenizer,
)

COMMIT, OTHER = "1" * 40, "2" * 40
MENTOR, LLAMAGEN = "BleachNick/Mentor", "peizesun/llamagen_t2i"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub; reaching for the network is an error."""

    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return tmp_path / "hub"


def snapshot(cache, name, commit=COMMIT) -> Path:
    """A folder for the files of a commit, in the hub's own layout, to which ``main`` leads."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    return repository / "snapshots" / commit


@pytest.fixture
def mentor(cache) -> Path:
    """MENTOR's repository and the text tokenizer of FLAN-T5, as they lie in the cache after a download."""
    folder = snapshot(cache, MENTOR)
    save(folder / "stage2.pt", random_weights(TINY, seed=2), args=ARGS)
    save(folder / "stage1.pt", random_weights(TINY, seed=1), args=ARGS)
    save_tokenizer(folder / "vq_ds16_t2i.pt")
    language_folder(snapshot(cache, "google/flan-t5-xl"), weights=False)
    return folder


def decoder_norm(folder: Path) -> torch.Tensor:
    return load_file(folder / "model.safetensors")["decoder.output.weight"]


def expected(seed: int) -> torch.Tensor:
    return random_weights(TINY, seed=seed)["output.weight"]


def test_the_second_stage_is_converted_beside_the_snapshots(cache, mentor):
    folder = convert_released(MENTOR, cache_dir=cache)
    assert folder == cache / "models--BleachNick--Mentor" / "converted" / COMMIT
    assert read_config(folder) == TINY
    assert torch.equal(decoder_norm(folder), expected(2))
    assert [path.name for path in folder.parent.iterdir()] == [COMMIT]


def test_the_second_use_finds_it_and_needs_no_large_file(cache, mentor):
    folder = convert_released(MENTOR, cache_dir=cache)
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    for path in mentor.iterdir():
        path.unlink()
    assert convert_released(MENTOR, cache_dir=cache, local_files_only=True) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written


def test_another_commit_is_another_folder(cache, mentor):
    first = convert_released(MENTOR, cache_dir=cache)
    newer = snapshot(cache, MENTOR, OTHER)
    (newer / "checkpoints").mkdir()
    save(newer / "checkpoints" / "mentor_stage2_v2.pt", random_weights(TINY, seed=5), args=ARGS)
    save_tokenizer(newer / "vq_ds16_t2i.pt")
    second = convert_released(MENTOR, cache_dir=cache)
    assert second == first.with_name(OTHER)
    assert torch.equal(decoder_norm(second), expected(5))
    assert convert_released(MENTOR, cache_dir=cache, revision=COMMIT) == first


def test_the_first_stage_does_where_there_is_no_second(cache, mentor):
    (mentor / "stage2.pt").unlink()
    assert torch.equal(decoder_norm(convert_released(MENTOR, cache_dir=cache)), expected(1))


def test_llamagen_takes_the_larger_pictures_and_flan_t5(cache):
    folder = snapshot(cache, LLAMAGEN)
    for name in ("t2i_XL_stage1_256", "t2i_XL_stage2_512"):
        save(folder / f"{name}.pt", random_weights(TINY_LLAMAGEN))
    save_tokenizer(folder / "vq_ds16_t2i.pt")
    language_folder(snapshot(cache, "google/flan-t5-xl"))
    config = read_config(convert_released(LLAMAGEN, cache_dir=cache))
    assert (config.name, config.image_size, config.vision) == ("t2i_XL_stage2_512", 512, None)
    assert config.decoder.prefix_rope == "zero"


def test_a_raw_name_is_loaded_like_any_other(cache, mentor):
    bundle = load_bundle(MENTOR, cache_dir=cache, local_files_only=True)
    assert bundle.config == TINY
    assert torch.equal(bundle.mentor.decoder.output.weight, expected(2))


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["stage1.pt", "stage2.pt"], r"BleachNick/Mentor has no file stage2.pt or \*stage2\*.pt or"),
        (["vq_ds16_t2i.pt"], "BleachNick/Mentor has no file vq_ds16_t2i.pt"),
    ],
)
def test_a_repository_without_the_files_says_which_were_expected(cache, mentor, gone, message):
    for name in gone:
        (mentor / name).unlink()
    with pytest.raises(ValueError, match=message):
        convert_released(MENTOR, cache_dir=cache)
    assert not (cache / "models--BleachNick--Mentor" / "converted").exists()


def test_without_the_text_tokenizer_nothing_is_converted(cache, mentor):
    for path in (cache / "models--google--flan-t5-xl").rglob("tokenizer.json"):
        path.unlink()
    with pytest.raises(ValueError, match="holds no text tokenizer; expected tokenizer.json"):
        convert_released(MENTOR, cache_dir=cache)
    assert not (cache / "models--BleachNick--Mentor" / "converted").exists()


@pytest.mark.parametrize("name", RAW)
def test_no_network_and_no_cache_is_one_line(cache, name):
    with pytest.raises(ValueError, match=f"the model hub did not give '{re.escape(name)}'") as caught:
        convert_released(name, cache_dir=cache)
    assert "\n" not in str(caught.value)


def test_progress_is_shown_where_it_is_asked_for(cache, mentor, capfd):
    convert_released(MENTOR, cache_dir=cache, progress=True)
    assert "Converting stage2.pt: 100%" in capfd.readouterr().err
