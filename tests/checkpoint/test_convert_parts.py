"""Image tokenizers and projectors alone: every number kept, other files refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from mentor.checkpoint.convert_parts import convert_image_tokenizer, convert_projector
from mentor.config.load import from_dict
from mentor.config.model import ConnectorConfig, ImageTokenizerConfig
from mentor.models.connector import MLPConnector
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.training.start import fill_image_tokenizer
from tests.checkpoint.official_files import golden_weights, save, save_tokenizer
from tests.parity.fixtures import OWN_GOLDEN_DIR, load_golden


@pytest.mark.parametrize("name", ["vq16_like", "vq8_like"])
def test_an_image_tokenizer_becomes_a_folder_that_training_starts_from(tmp_path, name):
    report = convert_image_tokenizer(save_tokenizer(tmp_path / "vq.pt", name), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "image_tokenizer.safetensors"]
    kept, weights = load_file(tmp_path / "out" / "image_tokenizer.safetensors"), golden_weights(name)
    del weights["quantize.codebook_used"]
    assert kept.keys() == weights.keys()
    assert all(torch.equal(kept[key], weights[key]) and kept[key].dtype == weights[key].dtype for key in kept)
    assert report.notes[0] == "left out of vq.pt: the training's count of codes (1)"

    config = from_dict(ImageTokenizerConfig, json.loads((tmp_path / "out" / "config.json").read_text()))
    tokenizer = ImageTokenizer(config).eval()
    fill_image_tokenizer(tokenizer, str(tmp_path / "out"))
    golden = load_golden(name, OWN_GOLDEN_DIR)
    assert torch.equal(tokenizer.encode(golden.io["in.images"]).flatten(), golden.io["out.indices"])


def test_a_folder_of_before_is_replaced_and_another_is_not(tmp_path):
    path = save_tokenizer(tmp_path / "vq.pt")
    convert_image_tokenizer(save_tokenizer(tmp_path / "vq8.pt", "vq8_like"), tmp_path / "out")
    convert_image_tokenizer(path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["downsample"] == 4
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=r"out holds other files \(thesis.txt\)"):
        convert_image_tokenizer(path, tmp_path / "out")
    with pytest.raises(ValueError, match="vq.pt is a file"):
        convert_image_tokenizer(path, path)
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.conv_out.bias": None}, "1 missing tensor: decoder.conv_out.bias"),
        ({"decoder.conv_out.bias": torch.zeros(4)}, r"decoder.conv_out.bias is \[4\], expected \[3\]"),
        ({"encoder.conv_in.weights": torch.zeros(1)}, r"encoder.conv_in.weights \(nearest: encoder.conv_in.weight\)"),
    ],
)
def test_misfits_of_an_image_tokenizer_are_named(tmp_path, change, message):
    state = {name: tensor for name, tensor in (golden_weights("vq16_like") | change).items() if tensor is not None}
    with pytest.raises(ValueError, match=f"vq.pt is not a LlamaGen image tokenizer .*{message}"):
        convert_image_tokenizer(save(tmp_path / "vq.pt", state), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["vq.pt"]


@pytest.mark.parametrize(("width", "hidden", "out"), [(32, 40, 40), (16, 24, 40)])
def test_a_projector_becomes_a_connector(tmp_path, width, hidden, out):
    layers = torch.nn.Sequential(
        torch.nn.Linear(width, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, out)
    ).bfloat16()
    weights = {f"model.mm_projector.{name}": tensor for name, tensor in layers.state_dict().items()}
    torch.save(weights, tmp_path / "mm_projector.bin")
    report = convert_projector(tmp_path / "mm_projector.bin", tmp_path / "new" / "connector.safetensors")
    assert report.notes == [f"connector: {width} -> {hidden} -> {out}"]
    connector = MLPConnector(ConnectorConfig(hidden=hidden), width, out).bfloat16()
    connector.load_state_dict(load_file(tmp_path / "new" / "connector.safetensors"))
    features = torch.randn(3, width).bfloat16()
    assert torch.equal(connector(features), layers(features))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["model.mm_projector.0.weight"], "3 missing tensors: model.mm_projector.0.bias"),
        (
            ["lm_head.weight", "model.mm_projectors.0.weight"],
            "2 unknown tensors: lm_head.weight, model.mm_projectors.0.weight",
        ),
    ],
)
def test_other_files_are_no_projectors(tmp_path, names, message):
    torch.save({name: torch.zeros(4, 4) for name in names}, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=f"a.bin .*not a LLaVA projector .*{message}"):
        convert_projector(tmp_path / "a.bin", tmp_path / "connector.safetensors")
    with pytest.raises(ValueError, match="expected the name of a .safetensors file"):
        convert_projector(tmp_path / "a.bin", tmp_path / "connector.bin")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
