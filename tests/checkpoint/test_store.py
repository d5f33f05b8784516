"""Bundles: what is saved comes back and predicts the same; every way to get it wrong is one clear sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel

from mentor.checkpoint import layout, store, tensors
from mentor.checkpoint.store import Bundle, load_bundle, load_image_tokenizer, save_bundle, write_bundle
from mentor.checkpoint.tensors import read_tensors, write_tensors
from mentor.config.load import to_dict
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from tests.generation.tiny_bundle import CONFIG, text_tokenizer, tiny_bundle


@pytest.fixture
def bundle() -> Bundle:
    return tiny_bundle()


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    return save(bundle, tmp_path / "tiny")


def save(bundle: Bundle, folder: Path, **arguments: object) -> Path:
    return save_bundle(folder, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer, **arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@torch.no_grad()
def outputs(bundle):
    ids = torch.tensor([[3, 1, 1, 1, 1, 5]])
    pixels = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    features = bundle.mentor.encoder.encode_images(pixels)
    codes = bundle.image_tokenizer.encode(pixels)
    logits = bundle.mentor(ids, ids > 0, features, codes)
    return codes, logits, bundle.image_tokenizer.decode(codes), bundle.text_tokenizer.encode("the red fox").ids


def test_saved_and_loaded_it_computes_the_same(bundle, folder):
    loaded = load_bundle(folder)
    assert loaded.config == CONFIG
    assert not loaded.mentor.training
    assert not loaded.image_tokenizer.training
    assert {parameter.dtype for parameter in loaded.mentor.parameters()} == {torch.float32}
    for one, two in zip(outputs(bundle), outputs(loaded), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))


def test_what_is_loaded_can_be_trained(bundle, folder):
    """Every weight lies in memory of its own, in the order of a built model's, and gets a gradient."""
    loaded = load_bundle(folder)
    for name, built in bundle.mentor.named_parameters():
        weight = loaded.mentor.get_parameter(name)
        assert weight.is_leaf
        assert weight.requires_grad == built.requires_grad
        assert weight.stride() == built.stride()
        assert weight.untyped_storage().nbytes() == weight.nbytes
    (folder / "model.safetensors").unlink()
    before = loaded.mentor.projector.fc1.weight.clone()
    ids = torch.tensor([[3, 5]])
    loaded.mentor(ids, ids > 0, torch.zeros(0, 4, 16), torch.zeros(1, 16, dtype=torch.int64)).sum().backward()
    torch.optim.SGD(loaded.mentor.parameters(), lr=1.0).step()
    assert not torch.equal(loaded.mentor.projector.fc1.weight, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("storage", ["full", "half"])
def test_saved_again_every_file_is_the_same(bundle, tmp_path, dtype, storage):
    bundle.mentor.to(dtype), bundle.image_tokenizer.to(dtype)
    first = save(bundle, tmp_path / "first", storage=storage)
    again = save(load_bundle(first, dtype=dtype), tmp_path / "again", storage=storage)
    assert contents(first) == contents(again)
    if storage == "full":
        stored = load_file(first / "model.safetensors")
        for name, weight in bundle.mentor.state_dict().items():
            assert stored[name].dtype == dtype
            assert torch.equal(stored[name], weight)


def test_rounding_to_sixteen_bits_moves_the_weights_by_a_thousandth(bundle, tmp_path):
    loaded = load_bundle(save(bundle, tmp_path / "half", storage="half"))
    for name, weight in bundle.mentor.state_dict().items():
        torch.testing.assert_close(loaded.mentor.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def test_the_types_are_the_configurations_unless_one_is_asked_for(bundle, tmp_path):
    mentor = Mentor(replace(CONFIG, encoder_dtype="bfloat16"))
    mentor.load_state_dict(bundle.mentor.state_dict())
    folder = save_bundle(tmp_path / "tiny", mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    for dtype, encoder, rest in [
        (None, torch.bfloat16, torch.float32),
        (torch.float32, torch.float32, torch.float32),
        (torch.bfloat16, torch.bfloat16, torch.bfloat16),
    ]:
        loaded = load_bundle(folder, dtype=dtype)
        for name, weight in loaded.mentor.state_dict().items():
            assert weight.dtype == (encoder if name.startswith("encoder.") else rest)
            assert torch.equal(weight, mentor.state_dict()[name].to(weight.dtype))
        assert {weight.dtype for weight in loaded.image_tokenizer.parameters()} == {rest}


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of at most 100 kB."""
    monkeypatch.setattr(store, "write_tensors", partial(write_tensors, shard_bytes=100_000))


def test_a_model_in_shards_is_the_same_model(bundle, folder, tmp_path, shards):
    parted = save(bundle, tmp_path / "parted")
    assert len(list(parted.glob("model-0000?-of-0000?.safetensors"))) > 2
    for one, two in zip(outputs(load_bundle(folder)), outputs(load_bundle(parted)), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))
    save(bundle, folder)  # over the single file
    assert contents(folder) == contents(parted)
    next(folder.glob("model-00002-*")).unlink()
    with pytest.raises(ValueError, match=r"model-00002-of-0000.\.safetensors is missing"):
        load_bundle(folder)


def test_loading_does_not_touch_the_random_state(folder):
    before = torch.get_rng_state()
    load_bundle(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_folder_holds_all_files_and_a_card(folder):
    assert sorted(contents(folder)) == [
        "README.md", "config.json", "image_tokenizer.safetensors", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    card = (folder / "README.md").read_text()
    assert "32 x 32 pictures" in card
    assert "Not trained" not in card, "nobody knows"
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_failed_save_leaves_what_was_there(bundle, folder):
    before = contents(folder)
    with torch.no_grad():
        bundle.mentor.null_condition[0, 0] = float("nan")
    with pytest.raises(ValueError, match="null_condition holds values that are not finite"):
        save(bundle, folder, storage="half")
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("file", ["thesis.txt", "samples/1.png", ".git/HEAD"])
def test_other_files_of_a_folder_stay(bundle, folder, tmp_path, file):
    """In a folder without a model, such as a clone of an empty repository, and in one with a model."""
    (tmp_path / "clone").mkdir()
    for target in (tmp_path / "clone", folder):
        path = target / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
        save(bundle, target)
        assert path.read_text() == "years of work"
        assert load_bundle(target).config == CONFIG
        assert not [each.name for each in target.iterdir() if each.name.startswith(".saving")]


def test_files_that_are_no_bundles_are_not_overwritten(bundle, tmp_path):
    for name, text in [
        ("config.json", '{"model_type": "t5"}'),
        ("README.md", "my own words"),
        ("tokenizer.json", "{}"),
    ]:
        target = tmp_path / name.partition(".")[0]
        target.mkdir()
        (target / name).write_text(text)
        with pytest.raises(ValueError, match=f"holds {name} and no model of mentor .*choose a new folder"):
            save(bundle, target)
        assert [(path.name, path.read_text()) for path in target.iterdir()] == [(name, text)]
    with pytest.raises(ValueError, match=r"config.json is a file; choose a new folder"):
        save(bundle, tmp_path / "config" / "config.json")


def test_the_folder_itself_stays(bundle, folder, monkeypatch):
    """It may be a mount, have its own mode, or be where somebody stands."""
    folder.chmod(0o2775)
    before = folder.stat()
    monkeypatch.chdir(folder)
    save(bundle, ".")
    assert Path.cwd() == folder and load_bundle(".").config == CONFIG
    assert (folder.stat().st_ino, folder.stat().st_mode) == (before.st_ino, before.st_mode)


def test_a_parent_that_must_not_be_written_to_does_not_matter(bundle, folder, monkeypatch):
    places = []
    made = tempfile.mkdtemp
    monkeypatch.setattr(
        tempfile, "mkdtemp", lambda *a, **k: places.append(k.get("dir", a[-1] if a else None)) or made(*a, **k)
    )
    save(bundle, folder)
    assert places and all(folder in (Path(place), *Path(place).parents) for place in places)


@pytest.mark.parametrize("moves", range(5))
def test_a_save_that_is_broken_off_leaves_the_old_model_or_none(bundle, folder, tmp_path, monkeypatch, moves):
    """Never a mix of two: among the last renames the folder has no configuration."""
    other = tiny_bundle(seed=1)
    replace_file, done = os.replace, []

    def broken(source, target):
        if Path(target).parent == folder:
            if len(done) == moves:
                raise KeyboardInterrupt
            done.append(target)
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        save(other, folder)
    monkeypatch.undo()
    assert not (folder / "config.json").exists()
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        load_bundle(folder)


def test_a_model_that_is_replaced_while_it_is_read_is_told(bundle, folder, monkeypatch):
    monkeypatch.setattr(tensors, "_MAPPED_BYTES", 0)
    stored = read_tensors(folder, "model")
    names = list(stored)
    assert torch.equal(stored[names[0]], bundle.mentor.state_dict()[names[0]])
    save(tiny_bundle(seed=1), folder)
    with pytest.raises(ValueError, match=r"model\.safetensors was replaced while it was being read"):
        stored[names[1]]


def test_a_decoder_and_an_image_tokenizer_of_other_codes_are_refused(bundle):
    other = ImageTokenizer(replace(CONFIG.image_tokenizer, codebook_size=32))
    with pytest.raises(ValueError, match="the decoder writes 64 image tokens, the image tokenizer knows 32"):
        replace(bundle, image_tokenizer=other)


def test_only_the_configured_models_tensors_are_written(bundle, tmp_path):
    model, tokenizer = bundle.mentor.state_dict(), bundle.image_tokenizer.state_dict()
    for wrong, message in [
        ({name: tensor for name, tensor in model.items() if name != "null_condition"}, "null_condition is missing"),
        ({**model, "decoder.layer.0.w": torch.zeros(1)}, "decoder.layer.0.w is not part of the configured model"),
        ({**model, "null_condition": torch.zeros(3)}, r"null_condition has shape \[3\], .* \[24, 16\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_bundle(tmp_path / "new", CONFIG, wrong, tokenizer, None)
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_text_tokenizer_says_what_to_add(bundle, tmp_path):
    folder = write_bundle(
        tmp_path / "new", CONFIG, bundle.mentor.state_dict(), bundle.image_tokenizer.state_dict(), None, card="Made up."
    )
    assert "Made up." in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match=r"new/tokenizer.json is missing; put .* there"):
        load_bundle(folder)
    (folder / "tokenizer.json").write_text(text_tokenizer().to_str())
    for one, two in zip(outputs(bundle), outputs(load_bundle(folder)), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))


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
        ({"decoder__num_layers": 1}, "decoder.layers.1.*not part of the configured model.*nearest.* decoder.layers.0"),
        ({"image_tokenizer__codebook_size": 32}, r"image_tokenizer.safetensors does not fit .*\[64, 8\].*\[32, 8\]"),
        ({"decoder__widht": 3}, "config.json: .*widht.*did you mean 'width'"),
        ({"context": "many"}, "config.json: .*context"),
        ({"connector": None}, "config.json: .*vision and connector go together"),
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


def test_other_models_are_called_by_their_names(folder, tmp_path):
    T5EncoderModel(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9)).save_pretrained(
        tmp_path / "t5"
    )
    (tmp_path / "official").mkdir()
    (tmp_path / "official" / "stage2.pt").touch()
    save_file({"model.diffusion_model.a": torch.zeros(1)}, tmp_path / "sd.safetensors")
    for name, message in [
        ("t5", "t5 is a transformers model of type t5; expected a model folder of mentor"),
        ("official", "official is a folder with stage2.pt, which has to be converted first: mentor convert official"),
        ("official/stage2.pt", "stage2.pt is a PyTorch checkpoint, which has to be converted first"),
        ("sd.safetensors", "sd.safetensors is a Stable Diffusion checkpoint; expected a model folder of mentor"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_bundle(tmp_path / name)
    for file, message in [
        (tmp_path / "t5" / "model.safetensors", r"model.safetensors holds a T5 language model; expected the weights"),
        (tmp_path / "sd.safetensors", r"model.safetensors holds a Stable Diffusion checkpoint; expected the weights"),
    ]:
        (folder / "model.safetensors").write_bytes(file.read_bytes())
        with pytest.raises(ValueError, match=message):
            load_bundle(folder)


def test_a_bundle_of_other_weights_is_refused(folder):
    write_tensors(folder, "model", {"something": torch.zeros(2)})
    with pytest.raises(ValueError, match="null_condition is missing; .* more"):
        load_bundle(folder)


MEASURE = """
import sys, torch
from mentor.checkpoint.store import load_bundle

def memory(field):
    return int(open("/proc/self/status").read().partition(field + ":")[2].split()[0]) * 1024

big, small = sys.argv[1:]
load_bundle(small)  # imports, and memory that stays
before = memory("VmRSS")
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak starts anew
bundle = load_bundle(big, dtype=torch.bfloat16)
size = sum(weight.nbytes for weight in bundle.mentor.parameters())
print((memory("VmHWM") - before) / size, size)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of a process's memory")
def test_loading_takes_the_memory_of_the_weights_alone(tmp_path, folder):
    """Float32 weights become bfloat16: a copy of them, or a file that stays mapped, would make it 3 times their size."""
    wide = replace(CONFIG, decoder=replace(CONFIG.decoder, width=1024, num_layers=4, mlp_width=3072))
    with torch.device("meta"):
        outline = Mentor(wide).state_dict()
    model = {name: torch.zeros(tensor.shape) for name, tensor in outline.items()}
    tokenizer = tiny_bundle().image_tokenizer.state_dict()
    big = write_bundle(tmp_path / "big", wide, model, tokenizer, text_tokenizer())
    command = [sys.executable, "-c", MEASURE, str(big), str(folder)]
    ratio, size = map(float, subprocess.run(command, capture_output=True, check=True, text=True).stdout.split())
    assert size > 100e6
    assert 0.9 < ratio < 1.8


def test_an_image_tokenizer_of_the_package_is_found_by_its_name(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tokens"
    folder.mkdir()
    write_tensors(folder, "image_tokenizer", bundle.image_tokenizer.state_dict())
    (folder / "config.json").write_text(json.dumps(to_dict(bundle.config.image_tokenizer)))
    monkeypatch.setattr(layout, "ASSETS", tmp_path)
    found = load_image_tokenizer("tokens").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in bundle.image_tokenizer.state_dict().items())
    with pytest.raises(ValueError, match="holds an image tokenizer alone"):
        load_bundle("tokens")
    assert layout.shipped_models() == []
