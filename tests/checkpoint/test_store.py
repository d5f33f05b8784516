"""Bundles: what is saved comes back and predicts the same; every way to get it wrong is one clear sentence."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from mentor.checkpoint import store
from mentor.checkpoint.store import load_bundle, save_bundle, shipped_models
from mentor.checkpoint.tensors import write_tensors
from tests.generation.tiny_bundle import CONFIG, tiny_bundle


@pytest.fixture
def bundle():
    return tiny_bundle()


@pytest.fixture
def folder(bundle, tmp_path):
    return save_bundle(tmp_path / "tiny", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)


@torch.no_grad()
def outputs(bundle):
    ids = torch.tensor([[3, 1, 1, 1, 1, 5]])
    pixels = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    features = bundle.mentor.encoder.encode_images(pixels)
    codes = bundle.image_tokenizer.encode(pixels)
    logits = bundle.mentor(ids, ids > 0, features, codes)
    return codes, logits, bundle.image_tokenizer.decode(codes), bundle.text_tokenizer.encode("the red fox").ids


def test_saved_and_loaded_it_computes_the_same(folder):
    loaded = load_bundle(folder)
    assert loaded.config == CONFIG
    assert not loaded.mentor.training
    assert not loaded.image_tokenizer.training
    assert {parameter.dtype for parameter in loaded.mentor.parameters()} == {torch.float32}
    # The first saving rounds to 16 bits, the next ones change nothing.
    again = load_bundle(save_bundle(folder, loaded.mentor, loaded.image_tokenizer, loaded.text_tokenizer))
    for one, two in zip(outputs(loaded), outputs(again), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))


def test_rounding_to_sixteen_bits_moves_the_weights_by_a_thousandth(bundle, folder):
    loaded = load_bundle(folder)
    for name, weight in bundle.mentor.state_dict().items():
        torch.testing.assert_close(loaded.mentor.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def test_the_folder_holds_all_files_and_a_card(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "image_tokenizer.safetensors", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "32 x 32 pictures" in card
    assert "Not trained yet" in card
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_failed_save_leaves_what_was_there(bundle, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with torch.no_grad():
        bundle.mentor.null_condition[0, 0] = float("nan")
    with pytest.raises(ValueError, match="null_condition holds values that are not finite"):
        save_bundle(folder, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_folder_with_other_files_is_not_replaced(bundle, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        save_bundle(tmp_path, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def change_config(folder, **values):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for dotted, value in values.items():
        inner = config
        *parents, last = dotted.split("__")
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 23}, r"null_condition has shape \[24, 16\], the configuration asks for \[23, 16\]"),
        ({"decoder__num_layers": 1}, "decoder.layers.1.*not part of the configured model"),
        ({"image_tokenizer__codebook_size": 32}, r"image_tokenizer.safetensors does not fit .*\[64, 8\].*\[32, 8\]"),
        ({"decoder__widht": 3}, "widht.*width"),
        ({"context": "many"}, "config.json: .*context"),
    ],
)
def test_weights_and_configuration_must_fit(folder, changes, message):
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load_bundle(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "image_tokenizer.safetensors", "tokenizer.json"])
def test_missing_and_cut_off_files_are_named(folder, file):
    path = folder / file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=file):
        load_bundle(folder)
    path.unlink()
    with pytest.raises(ValueError, match=file):
        load_bundle(folder)


@pytest.mark.parametrize("text", ['{"a": 1}', "[]", "3", '"word"'])
def test_json_that_is_no_tokenizer_is_named(folder, text):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match="tokenizer.json is not a"):
        load_bundle(folder)


def test_unknown_names_list_the_known_ones(monkeypatch, tmp_path, folder):
    monkeypatch.setattr(store, "ASSETS", folder.parent)
    assert shipped_models() == ["tiny"]
    assert load_bundle("tiny").config == CONFIG
    for name in ("tinny", "../nowhere/else", "/no/such/folder", "a/b/c", ""):
        with pytest.raises(ValueError, match="unknown model .*known: tiny"):
            load_bundle(name)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty local cache of the model hub, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_hub_name_is_found_in_the_hubs_own_layout(hub, folder):
    repository = hub / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(folder, repository / "snapshots" / ("0" * 40))
    assert load_bundle("someone/tiny").config == CONFIG


def test_a_hub_that_cannot_be_reached_says_so(hub):
    with pytest.raises(ValueError, match="there is no folder someone/else, and the model hub did not give"):
        load_bundle("someone/else")


def test_a_bundle_of_other_weights_is_refused(folder):
    write_tensors(folder / "model.safetensors", {"something": torch.zeros(2)})
    with pytest.raises(ValueError, match="null_condition is missing; .* more"):
        load_bundle(folder)
