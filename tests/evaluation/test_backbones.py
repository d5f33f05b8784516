from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BitImageProcessorPil, CLIPModel

from mentor.evaluation.backbones import Clip, Dino, Inception, chosen, clean_pixels, dino_pixels, load_clip, load_dino
from mentor.evaluation.metrics import cosine
from mentor.evaluation.protocol import Source, Tools
from tests.evaluation.networks import save_clip, save_dino, save_inception

TEXTS = ["a photo of a red dog", "a cat on the beach a cat on the beach a cat on the beach", "bench"]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip(str(save_clip(tmp_path_factory.mktemp("clip"))))


def test_clip_similarities_are_the_models_own_logits(clip: Clip) -> None:
    """Tolerance 1e-5: transformers' logits divided by its scale, on pixels that were prepared by hand."""
    pictures = [noise(48, 32, 1), noise(32, 32, 2), noise(32, 44, 3)]
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    squares = [pictures[0].crop((8, 0, 40, 32)), pictures[1], pictures[2].crop((0, 6, 32, 38))]
    pixels = [(torch.from_numpy(np.array(each)).permute(2, 0, 1) / 255 - mean) / std for each in squares]
    model = CLIPModel.from_pretrained(clip.name.removeprefix("CLIP ")).eval()
    tokens = [clip._tokenizer(text).input_ids[:12] for text in TEXTS]
    with torch.no_grad():
        for picture, square in zip(pictures, pixels, strict=True):
            for text, ids in zip(TEXTS, tokens, strict=True):
                ids = [*ids[:11], 1] if len(ids) == 12 else ids
                logits = model(input_ids=torch.tensor([ids]), pixel_values=square[None]).logits_per_image
                expected = float(logits / model.logit_scale.exp())
                assert cosine(clip.images([picture]), clip.texts([text]))[0] == pytest.approx(expected, abs=1e-5)


def test_a_batch_gives_what_single_inputs_give(clip: Clip) -> None:
    pictures = [noise(40, 32, seed) for seed in range(35)]
    together = clip.images(pictures)
    assert together.shape == (35, 16) and together.dtype == np.float32
    np.testing.assert_allclose(together[33], clip.images([pictures[33]])[0], atol=1e-5)
    np.testing.assert_allclose(clip.texts(TEXTS)[2], clip.texts([TEXTS[2]])[0], atol=1e-5)


def test_fingerprints_follow_the_weights(tmp_path: Path) -> None:
    one, again, changed = (Dino(str(save_dino(tmp_path, 1))) for _ in range(3))
    with torch.no_grad():
        next(changed.model.parameters()).add_(1)
    assert one.fingerprint == again.fingerprint != changed.fingerprint


def test_networks_with_missing_weights_and_of_other_kinds_are_refused(tmp_path: Path) -> None:
    save_dino(tmp_path / "dino", 1)
    held = load_file(tmp_path / "dino" / "model.safetensors")
    lost = next(name for name in held if name.endswith("layernorm.weight"))
    kept = {name: each for name, each in held.items() if name != lost}
    save_file(kept, tmp_path / "dino" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="no fitting weights for .*layernorm.weight"):
        Dino(str(tmp_path / "dino"))
    with pytest.raises(ValueError, match="expected a DINO"):
        Dino(str(save_clip(tmp_path / "clip")))


@pytest.mark.parametrize("version", [1, 2])
def test_dino_is_the_class_token(tmp_path: Path, version: int) -> None:
    dino = Dino(str(save_dino(tmp_path, version)))
    assert dino.name.startswith("DINOv2 " if version == 2 else "DINO ")
    picture = noise(256, 256)
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    pixels = (torch.from_numpy(np.array(picture)[16:240, 16:240]) / 255 - mean) / std
    with torch.no_grad():
        expected = dino.model(pixel_values=pixels.permute(2, 0, 1)[None]).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(dino.images([picture])[0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(512, 384), (384, 640), (128, 128), (256, 300)])
def test_dino_pixels_are_those_of_dinov2s_image_processor(size: tuple[int, int]) -> None:
    """Tolerance 1e-5, for sizes whose crop is not between two pixels (there the processors round differently)."""
    processor = BitImageProcessorPil(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        resample=Image.Resampling.BICUBIC,
        do_resize=True,
        do_center_crop=True,
        do_normalize=True,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    picture = noise(*size)
    expected = processor(images=[picture], return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(dino_pixels(picture), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(237, 474), (474, 237), (300, 451)])
def test_the_longer_side_is_computed_in_whole_numbers(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """237 x 474 becomes 256 x 512; in floating point 256 / 237 * 474 is a hair less."""
    asked: list[tuple[int, int]] = []
    picture, true = noise(*size), Image.Image.resize

    def resize(self: Image.Image, size: tuple[int, int], *more: object) -> Image.Image:
        asked.append(size)
        return true(self, size, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "resize", resize)
    assert dino_pixels(picture).shape == (3, 224, 224)
    short, long = sorted(size)
    assert sorted(asked[0]) == [256, 256 * long // short]


@pytest.mark.parametrize("side", [32, 299, 512])
def test_clean_pixels_are_antialiased_bicubic_in_floating_point(side: int) -> None:
    """Tolerance 0.01 of 255: torch's antialiased bicubic filter, which knows nothing of Pillow."""
    picture = noise(side, side)
    raw = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].double()
    expected = torch.nn.functional.interpolate(raw, size=(299, 299), mode="bicubic", antialias=True)[0]
    torch.testing.assert_close(clean_pixels(picture).double(), expected, atol=0.01, rtol=0)


def test_inception_reads_a_torchscript_file_in_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "inception-2015-12-05.pt"
    network = save_inception(path)
    pictures = [noise(64, 64), noise(80, 48)]
    clean, own = Inception(str(path)), Inception(str(path), clean=False)
    assert "clean-fid" in clean.name and "own resizing" in own.name and clean.fingerprint != own.fingerprint
    with torch.no_grad():
        expected = torch.cat([network.layers((clean_pixels(each)[None] - 128) / 128).flatten(1) for each in pictures])
        raw = [torch.from_numpy(np.array(each)).permute(2, 0, 1)[None] for each in pictures]
        unresized = torch.cat([network(each, return_features=True).flatten(1) for each in raw])
    np.testing.assert_allclose(clean.images(pictures), expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(own.images(pictures), unresized.numpy(), atol=1e-5)
    alike = [noise(64, 64), noise(64, 64)]  # in one batch
    np.testing.assert_allclose(own.images(alike)[1], own.images(alike[1:])[0], atol=1e-5)


def test_a_missing_or_foreign_inception_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inception-2015-12-05.pt into the data folder"):
        Inception(str(tmp_path / "none.pt"))
    (tmp_path / "bad.pt").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="not a TorchScript file"):
        Inception(str(tmp_path / "bad.pt"))


def test_what_cannot_be_loaded_says_what_to_do(tmp_path: Path) -> None:
    for load in (load_clip, load_dino):
        with pytest.raises(ValueError, match=r"(CLIP|DINO) .* cannot be loaded .*; give a folder or a hub id of one"):
            load(str(tmp_path), "cpu")


def test_stand_ins_say_what_they_are_and_are_one_for_equal_pictures() -> None:
    words, trunk = load_clip("stand-in", "cpu"), load_dino("stand-in", "cpu")
    assert words.name.startswith("stand-in") and trunk.name.startswith("stand-in")
    red, blue = Image.new("RGB", (70, 50), (215, 35, 40)), Image.new("RGB", (64, 64), (25, 95, 220))
    texts = words.texts(["a red dog", "blue, not grey", "a dog"])
    np.testing.assert_allclose(cosine(words.images([red, blue, red]), texts), [1, 0.5**0.5, 0], atol=1e-6)
    features = trunk.images([red, noise(64, 64)])
    assert features.shape == (2, 1152)
    assert cosine(features[:1], features[1:])[0] < 0.99
    assert cosine(features, trunk.images([red, noise(64, 64)])) == pytest.approx(1)


PRESETS = {"real": {"clip": "hub/id"}, "stand-in": {"clip": "stand-in"}}


def tools(folder: Path, *, sample: bool = False, **settings: object) -> Tools:
    return Tools(Source(folder, sample), folder, **settings)  # type: ignore[arg-type]


def test_stand_ins_measure_the_sample_only_unless_asked(tmp_path: Path) -> None:
    assert chosen(tools(tmp_path), PRESETS) == ("real", {"clip": "hub/id"})
    assert chosen(tools(tmp_path, sample=True), PRESETS) == ("stand-in", {"clip": "stand-in"})
    assert chosen(tools(tmp_path, sample=True, preset="real"), PRESETS)[0] == "real"
    assert chosen(tools(tmp_path, backbones={"clip": "here"}), PRESETS) == ("real", {"clip": "here"})
    with pytest.raises(ValueError, match="unknown preset 'x'; known: real, stand-in"):
        chosen(tools(tmp_path, preset="x"), PRESETS)
    with pytest.raises(ValueError, match="no backbone 'dino'; it has: clip"):
        chosen(tools(tmp_path, backbones={"dino": "here"}), PRESETS)
