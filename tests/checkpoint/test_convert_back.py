"""Ours to official and again to ours, bit for bit, number types included."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from mentor.checkpoint.conversion import Extras
from mentor.checkpoint.convert_back import convert_back
from mentor.checkpoint.convert_model import convert_model
from mentor.checkpoint.convert_parts import convert_image_tokenizer, convert_projector
from mentor.checkpoint.layout import read_config
from mentor.checkpoint.store import save_bundle
from mentor.config.presets import PRESETS
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from tests.checkpoint.official_files import (
    TINY,
    TINY_LLAMAGEN,
    golden_weights,
    language_folder,
    random_weights,
    save,
    save_tokenizer,
    text_tokenizer,
)
from tests.generation.tiny_bundle import tiny_bundle

SHARED = "multimodal_encoder.language_model.shared.weight"
EMBEDDING = "multimodal_encoder.language_model.encoder.embed_tokens.weight"


def read(path):
    content = torch.load(path, weights_only=True)
    assert list(content) in (["model"], ["model", "args"])
    return content["model"]


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype, name
        assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("config", [TINY, TINY_LLAMAGEN], ids=lambda config: config.name)
def test_a_model_there_and_back(tmp_path, config):
    weights = random_weights(config)
    model, tokenizer = save(tmp_path / f"{config.name}.pt", weights), save_tokenizer(tmp_path / "vq.pt")
    base = PRESETS["xl"] if config.vision else PRESETS["llamagen-xl"]
    extras = Extras(language=language_folder(tmp_path / "t5"), image_size=24)
    convert_model(model, tokenizer, tmp_path / "out", base, extras)
    report = convert_back(tmp_path / "out", tmp_path / "back" / "model.pt")
    assert_same(read(tmp_path / "back" / "model.pt"), weights)
    codes = golden_weights("vq16_like")
    assert_same(read(tmp_path / "back" / "vq_ds4.pt"), codes)
    assert codes["quantize.codebook_used"].shape == (65536,)
    told = " ".join(report.notes)
    assert "vq_ds4.pt: quantize.codebook_used, a record of training that we do not keep, is written as zeros" in told
    assert ("the language encoder is not in model.pt" in told) == (config.vision is None)

    convert_model(tmp_path / "back" / "model.pt", tmp_path / "back" / "vq_ds4.pt", tmp_path / "again", base, extras)
    for stem in ("model", "image_tokenizer"):
        assert_same(
            load_file(tmp_path / "again" / f"{stem}.safetensors"), load_file(tmp_path / "out" / f"{stem}.safetensors")
        )


@pytest.mark.parametrize("policy", ["zero", "identity"])
def test_prefix_positions_and_picture_size_come_back(tmp_path, policy):
    config = replace(TINY, decoder=replace(TINY.decoder, prefix_rope=policy))
    save_model(tmp_path / "out", config)
    report = convert_back(tmp_path / "out", tmp_path / "model.pt")
    assert not report.warnings
    extras = Extras(language=language_folder(tmp_path / "t5"))
    convert_model(tmp_path / "model.pt", tmp_path / "vq_ds4.pt", tmp_path / "again", PRESETS["xl"], extras)
    again = read_config(tmp_path / "again")
    assert (again.decoder.prefix_rope, again.image_size) == (policy, config.image_size)


def test_activations_that_the_released_code_has_not_are_told(tmp_path):
    config = replace(
        TINY,
        language=replace(TINY.language, activation="gelu_new"),
        projector=replace(TINY.projector, activation="silu"),
    )
    save_model(tmp_path / "out", config)
    told = convert_back(tmp_path / "out", tmp_path / "model.pt").warnings
    assert [warning.split(",")[0] for warning in told] == [
        "language.activation is gelu_new",
        "projector.activation is silu",
    ]


def test_the_word_embeddings_are_one_tensor_under_two_names(tmp_path):
    save_model(tmp_path / "out", TINY)
    convert_back(tmp_path / "out", tmp_path / "model.pt")
    state = read(tmp_path / "model.pt")
    assert state[SHARED].data_ptr() == state[EMBEDDING].data_ptr()
    # Each tensor has its own numbers in the file and no more.
    size = sum(tensor.nbytes for name, tensor in state.items() if name != SHARED)
    assert size < (tmp_path / "model.pt").stat().st_size < 1.5 * size


def save_model(folder, config):
    with torch.random.fork_rng(devices=[]):
        save_bundle(folder, Mentor(config), ImageTokenizer(config.image_tokenizer), text_tokenizer())


@pytest.mark.parametrize("name", ["vq16_like", "vq8_like"])
def test_an_image_tokenizer_there_and_back(tmp_path, name):
    convert_image_tokenizer(save_tokenizer(tmp_path / "vq.pt", name), tmp_path / "out")
    report = convert_back(tmp_path / "out", tmp_path / "back.pt")
    assert_same(read(tmp_path / "back.pt"), golden_weights(name))
    assert report.out == tmp_path / "back.pt"


def test_a_projector_there_and_back(tmp_path):
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (4, 4), "2.bias": (4,)}
    weights = {f"model.mm_projector.{name}": torch.randn(shape).half() for name, shape in shapes.items()}
    torch.save(weights, tmp_path / "mm_projector.bin")
    convert_projector(tmp_path / "mm_projector.bin", tmp_path / "connector.safetensors")
    convert_back(tmp_path / "connector.safetensors", tmp_path / "back.bin")
    assert_same(torch.load(tmp_path / "back.bin", weights_only=True), weights)


def test_what_the_released_code_has_no_names_for_is_refused(tmp_path):
    bundle = tiny_bundle()
    save_bundle(tmp_path / "bert", bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer)
    with pytest.raises(ValueError, match="has a bert language encoder and a mlp connector"):
        convert_back(tmp_path / "bert", tmp_path / "a.pt")
    save_model(tmp_path / "patchify", replace(TINY, image_tokenizer=bundle.config.image_tokenizer))
    with pytest.raises(ValueError, match=r"an image tokenizer of our own \(patchify\)"):
        convert_back(tmp_path / "patchify", tmp_path / "a.pt")
    save_model(tmp_path / "biases", replace(TINY, projector=replace(TINY.projector, bias=True)))
    assert "cls_embedding.cap_proj.fc1.bias" in read(convert_back(tmp_path / "biases", tmp_path / "b.pt").out)
    save_file({"fc3.weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="have no name for fc3.weight"):
        convert_back(tmp_path / "a.safetensors", tmp_path / "a.pt")
    assert not (tmp_path / "a.pt").exists()


def test_places_that_cannot_be_are_refused(tmp_path):
    save_model(tmp_path / "out", TINY)
    with pytest.raises(ValueError, match="is a folder, expected the name of the file"):
        convert_back(tmp_path / "out", tmp_path)
    with pytest.raises(ValueError, match="give another --tokenizer-out"):
        convert_back(tmp_path / "out", tmp_path / "a.pt", tmp_path / "a.pt")
    with pytest.raises(ValueError, match="nowhere"):
        convert_back(tmp_path / "nowhere", tmp_path / "a.pt")
    with pytest.raises(ValueError, match="expected a model folder, or the .safetensors file"):
        convert_back(save(tmp_path / "b.pt", {}), tmp_path / "a.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="config.json cannot be read"):
        convert_back(tmp_path / "empty", tmp_path / "a.pt")


def test_a_failure_leaves_both_files_as_they_were(tmp_path, monkeypatch):
    save_model(tmp_path / "out", TINY)
    (tmp_path / "a.pt").write_text("before")
    saving = torch.save

    def fail(content, path):
        saving(content, path)
        if "vq" in path.name:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        convert_back(tmp_path / "out", tmp_path / "a.pt")
    assert (tmp_path / "a.pt").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "out"]
