"""The full-size models, built without memory: parameters by part, and every name and shape of the released checkpoints."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch import nn

from mentor.checkpoint.official import EMBEDDING, SHARED, to_official
from mentor.config.presets import PRESETS, VQ_8, VQ_16
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor
from mentor.models.size import count_image_tokenizer, count_parameters
from tests.models.official_keys import official_keys

XL = {
    "vision_tower": 303_179_776,
    "connector": 6_295_552,
    "language_encoder": 1_223_527_424,
    "projector": 4_259_840,
    "decoder": 773_418_240,
}
RELEASED = 2_310_680_832


def official(name: str) -> str:
    theirs = to_official(name)
    assert theirs is not None, name
    return theirs


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def built() -> dict[str, Mentor]:
    """Every preset, on the meta device."""
    with torch.device("meta"):
        return {name: Mentor(config) for name, config in PRESETS.items()}


def test_parameters_of_the_released_model_by_part():
    assert count_parameters(PRESETS["xl"]) == XL
    assert sum(XL.values()) == RELEASED
    assert count_image_tokenizer(VQ_16) == 71_883_403
    assert count_image_tokenizer(VQ_8) == 70_109_835


def test_the_released_models_names_and_shapes(built):
    ours = {official(name): shape for name, shape in shapes(built["xl"]).items()}
    keys = official_keys("mentor_gpt_xl")
    embedding = official(EMBEDDING)
    assert len(keys) == 873
    assert keys[SHARED] == keys[embedding]  # one tensor under two names
    assert ours | {SHARED: ours[embedding]} == keys


@pytest.mark.parametrize("name", ["llamagen-xl", "llamagen-xl-256"])
def test_stock_llamagens_names_and_shapes(built, name):
    language = "encoder.language."
    ours = {official(key): shape for key, shape in shapes(built[name]).items() if not key.startswith(language)}
    assert ours == official_keys("llamagen_t2i_xl")
    sizes = count_parameters(PRESETS[name])
    assert sizes == {box: XL[box] for box in ("language_encoder", "projector", "decoder")}
    assert sizes["projector"] + sizes["decoder"] == 777_678_080


@pytest.mark.parametrize(("name", "config"), [("vq16", VQ_16), ("vq8", VQ_8)])
def test_the_image_tokenizers_names_and_shapes(name, config):
    with torch.device("meta"):
        ours = shapes(ImageTokenizer(config))
    keys = official_keys(name)
    assert keys.pop("quantize.codebook_used") == (65536,)  # a record of training that decides nothing
    assert ours == keys


def test_the_lists_hold_as_many_values_as_they_should():
    keys = official_keys("mentor_gpt_xl")
    values = sum(prod(shape) for name, shape in keys.items() if name != SHARED)
    assert values == RELEASED + 512 * 2048  # and the null condition, a buffer


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_without_memory(built, name):
    config, mentor = PRESETS[name], built[name]
    assert all(tensor.is_meta for tensor in mentor.state_dict().values())
    assert mentor.null_condition.shape == (config.context, config.language.width)
    assert {str(tensor.dtype) for tensor in mentor.encoder.state_dict().values() if tensor.is_floating_point()} == {
        f"torch.{config.encoder_dtype}"
    }
    rest = (tensor for name, tensor in mentor.state_dict().items() if not name.startswith("encoder."))
    assert {tensor.dtype for tensor in rest} == {torch.float32}
    # The rotary table follows from the configuration and is the only thing that is there.
    assert mentor.decoder.rotation.shape == (config.decoder.num_tokens, config.decoder.head_width // 2, 2)
    assert not mentor.decoder.rotation.is_meta
    assert config.decoder.vocab_size == config.image_tokenizer.codebook_size


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("xl-fixed", {"null_condition": 512 * 2048}),
        ("xl-paper", {"null_condition": 512 * 2048, "projector": 2048 * 4096 + 4096 * 1280}),
        ("xl-multi-image", {"null_condition": 1280 * 2048}),
    ],
)
def test_the_variants_differ_from_the_released_model_in_what_they_say(name, changed):
    assert count_parameters(PRESETS[name]) == XL | changed


def test_images_that_fit_into_the_contexts():
    """One image beside a text in 512 tokens, four in 1,280 (paper B.3), 14 of 32 tokens in 512."""
    for name, images in {"xl": 1, "xl-multi-image": 4, "xl-query-former": 14}.items():
        room = PRESETS[name].context - images * PRESETS[name].tokens_per_image
        assert 0 < room <= 256, name
