"""Folders of public models: which files are read, which parts of them, and the text tokenizer's extra token."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mentor.checkpoint.hub import HubOptions
from mentor.checkpoint.hub_parts import download_text_tokenizer, read_language, read_text_tokenizer, read_vision
from tests.checkpoint.official_files import language_folder, text_tokenizer, vision_folder


def t5_state(folder):
    return torch.load(folder / "pytorch_model.bin", weights_only=True)


@pytest.mark.parametrize("layout", ["one pickle", "pickled shards", "safetensors", "safetensors shards"])
def test_a_language_encoder_is_read_from_every_layout(tmp_path, layout):
    folder = language_folder(tmp_path / "t5")
    state = t5_state(folder)
    names = sorted(state)
    halves = [{name: state[name] for name in names[:20]}, {name: state[name] for name in names[20:]}]
    if layout != "one pickle":
        (folder / "pytorch_model.bin").unlink()
    if layout == "pickled shards":
        for i, half in enumerate(halves, start=1):
            torch.save(half, folder / f"pytorch_model-0000{i}-of-00002.bin")
    if layout == "safetensors":
        save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "model.safetensors")
    if layout == "safetensors shards":
        places = {}
        for i, half in enumerate(halves, start=1):
            file = f"model-0000{i}-of-00002.safetensors"
            save_file({name: tensor.clone() for name, tensor in half.items()}, folder / file)
            places |= dict.fromkeys(half, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    source = read_language(folder)
    wanted = {name for name in state if name.startswith("encoder.")}
    assert set(source.names.values()) == wanted
    assert source.unknown == []
    for ours, theirs in source.names.items():
        assert torch.equal(source.read(ours), state[theirs])
    assert source.notes == [f"not needed of t5: {len(state) - len(wanted) - 1} tensors of other parts"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_vision_tower_is_read_from_a_whole_model_and_from_the_part_alone(tmp_path, whole):
    folder = vision_folder(tmp_path / "clip")
    state = load_file(folder / "model.safetensors")
    vision = {n.removeprefix("vision_model."): t for n, t in state.items() if n.startswith("vision_model.")}
    if not whole:
        save_file(vision, folder / "model.safetensors")
    source = read_vision(folder)
    del vision["embeddings.position_ids"]
    assert set(source.names) == {f"encoder.vision.trunk.{name}" for name in vision}
    assert all(torch.equal(source.read(f"encoder.vision.trunk.{name}"), tensor) for name, tensor in vision.items())
    assert "left out of clip: position numbers (1)" in source.notes


def test_folders_without_weights_are_named(tmp_path):
    with pytest.raises(ValueError, match="none is not a folder"):
        read_vision(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no weights; expected model.safetensors or pytorch_model.bin"):
        read_vision(tmp_path)
    torch.save({}, tmp_path / "pytorch_model-00002-of-00003.bin")
    with pytest.raises(ValueError, match="has 1 of 3 shards of pytorch_model.bin"):
        read_language(tmp_path)
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(ValueError, match="model.safetensors.index.json is missing"):
        read_language(tmp_path)


def test_the_image_token_is_the_next_id_and_matched_whole(tmp_path):
    text_tokenizer().save(str(tmp_path / "tokenizer.json"))
    tokenizer = read_text_tokenizer(tmp_path)
    assert tokenizer.token_to_id("<image>") == 60
    assert tokenizer.encode("the<image>fox").ids.count(60) == 1
    # The processor turns special tokens into text, and must not turn this one.
    tokenizer.encode_special_tokens = True
    assert tokenizer.encode("<image></s>").ids.count(60) == 1
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert read_text_tokenizer(tmp_path).token_to_id("<image>") == 60


def test_a_tokenizer_that_pads_and_cuts_is_told_not_to(tmp_path):
    tokenizer = text_tokenizer()
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(read_text_tokenizer(tmp_path).encode("the fox in the").ids) == 5


def test_a_sentencepiece_model_gives_the_same_tokenizer_or_says_what_is_needed(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"not a model")
    with pytest.raises(
        ValueError, match=r"spiece.model cannot be read \(.*\); put the tokenizer.json of google/flan-t5-xl"
    ):
        read_text_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="holds no text tokenizer; expected tokenizer.json or spiece.model"):
        read_text_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="tokenizer.json is not a tokenizer"):
        read_text_tokenizer(tmp_path)


@pytest.mark.parametrize("cached", [True, False])
def test_the_hubs_tokenizer_is_taken_from_its_cache(tmp_path, monkeypatch, cached):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit, repository = "1" * 40, tmp_path / "models--google--flan-t5-xl"
    if cached:
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        (repository / "snapshots" / commit).mkdir(parents=True)
        text_tokenizer().save(str(repository / "snapshots" / commit / "tokenizer.json"))
        assert download_text_tokenizer(HubOptions(cache_dir=str(tmp_path))).token_to_id("<image>") == 60
    else:
        with pytest.raises(ValueError, match="the model hub did not give google/flan-t5-xl"):
            download_text_tokenizer(HubOptions(cache_dir=str(tmp_path)))
