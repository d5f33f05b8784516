"""Configurations from shapes: exactly the presets for the released files, and the sizes of small models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mentor.checkpoint.infer import infer_image_tokenizer, infer_model
from mentor.checkpoint.official import IMAGE_TOKENIZER_NAMES, rename
from mentor.config.presets import PRESETS, VQ_8, VQ_16
from tests.checkpoint.official_files import TINY, TINY_LLAMAGEN, golden_weights, random_weights
from tests.models.official_keys import official_keys

XL = PRESETS["xl"]


def on_meta(shapes, dtype=torch.float32) -> dict[str, Tensor]:
    """Official names and shapes -> our names with meta tensors, the encoder in ``dtype``."""
    ours = rename(shapes).ours
    return {
        name: torch.empty(shapes[theirs], device="meta", dtype=dtype if name.startswith("encoder.") else torch.float32)
        for name, theirs in ours.items()
    }


def shapes_of(weights) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def released() -> dict[str, Tensor]:
    return on_meta(official_keys("mentor_gpt_xl"), torch.bfloat16)


def test_the_released_checkpoint_is_the_preset(released):
    assert infer_model(released, VQ_16, XL, name="stage2", image_size=512) == XL


def test_a_language_encoder_in_float32_is_said(released):
    outline = {name: tensor.float() for name, tensor in released.items()}
    config = infer_model(outline, VQ_16, XL, name="stage2", image_size=512)
    assert config == replace(XL, name="stage2", encoder_dtype="float32")


@pytest.mark.parametrize(("size", "preset"), [(512, "llamagen-xl"), (256, "llamagen-xl-256")])
def test_stock_llamagen_with_a_language_encoder_from_elsewhere_is_the_preset(released, size, preset):
    outline = on_meta(official_keys("llamagen_t2i_xl"))
    language = {name: tensor.float() for name, tensor in released.items() if name.startswith("encoder.language.")}
    base = PRESETS["llamagen-xl"]
    assert infer_model(outline, VQ_16, base, name="t2i", borrowed=language, image_size=size) == PRESETS[preset]


@pytest.mark.parametrize(("name", "config"), [("vq16", VQ_16), ("vq8", VQ_8)])
def test_the_released_image_tokenizers_are_the_presets(name, config):
    keys = official_keys(name)
    outline = {ours: torch.empty(keys[ours], device="meta") for ours in rename(keys, IMAGE_TOKENIZER_NAMES).ours}
    assert infer_image_tokenizer(outline) == config


@pytest.mark.parametrize("name", ["vq16_like", "vq8_like"])
def test_golden_image_tokenizers(golden_meta, name):
    meta = golden_meta(name)["config"]
    config = infer_image_tokenizer(golden_weights(name))
    assert (config.channels, list(config.channel_multipliers)) == (meta["ch"], meta["encoder_ch_mult"])
    assert (config.downsample, config.blocks_per_level) == (meta["downsample"], meta["num_res_blocks"])
    assert (config.latent_channels, config.codebook_size) == (meta["z_channels"], meta["codebook_size"])
    assert config.code_width == meta["codebook_embed_dim"]


def test_the_golden_model_with_its_heads_given(golden_meta):
    meta = golden_meta("end_to_end")
    clip, t5, decoder = meta["clip_config"], meta["t5_config"], meta["config"]
    given = {
        "decoder": {"num_heads": decoder["n_head"], "grid": decoder["latent_size"]},
        "vision": {"num_heads": clip["num_attention_heads"]},
        "language": {"image_token_id": meta["image_token_id"]},
    }
    outline = on_meta(shapes_of(golden_weights("end_to_end")))
    config = infer_model(outline, VQ_16, XL, name="golden", given=given)
    assert config.vision is not None
    assert (config.vision.image_size, config.vision.patch_size) == (clip["image_size"], clip["patch_size"])
    assert config.vision.tokens_per_image == meta["patches_per_image"]
    assert (config.vision.num_layers, config.vision.mlp_width) == (clip["num_hidden_layers"], clip["intermediate_size"])
    assert config.vision.num_heads == clip["num_attention_heads"]
    assert (config.language.num_heads, config.language.head_width) == (t5["num_heads"], t5["d_kv"])
    assert (config.language.mlp_width, config.language.num_layers) == (t5["d_ff"], t5["num_layers"])
    assert (config.decoder.width, config.decoder.num_heads) == (decoder["dim"], decoder["n_head"])
    assert (config.decoder.grid, config.context) == (decoder["latent_size"], decoder["cls_token_num"])
    assert (config.encoder_dtype, config.name) == ("float32", "golden")


@pytest.mark.parametrize("expected", [TINY, TINY_LLAMAGEN], ids=lambda config: config.name)
def test_small_models_come_back_whole(expected):
    outline = on_meta(shapes_of(random_weights(TINY)), torch.bfloat16)
    own = on_meta(shapes_of(random_weights(expected)), torch.bfloat16)
    config = infer_model(
        own,
        TINY.image_tokenizer,
        replace(XL if expected.vision else PRESETS["llamagen-xl"]),
        name=expected.name,
        borrowed={name: tensor for name, tensor in outline.items() if name.startswith("encoder.language.")},
        image_size=24,
        image_token_id=60,
    )
    assert config == replace(expected, encoder_dtype="bfloat16")


def test_a_hidden_width_and_biases_of_its_own():
    config = replace(
        TINY, projector=replace(TINY.projector, hidden=96, bias=True), decoder=replace(TINY.decoder, mlp_width=72)
    )
    outline = on_meta(shapes_of(random_weights(config)), torch.bfloat16)
    found = infer_model(outline, TINY.image_tokenizer, XL, name="stage2", image_size=24, image_token_id=60)
    assert found == config


def of_width(outline, width):
    norms = {
        name: torch.empty(width, device="meta") for name in outline if name.startswith("decoder.") and "norm" in name
    }
    return outline | norms


@pytest.mark.parametrize(
    ("width", "heads"), [(768, 12), (1024, 16), (1280, 20), (1536, 24), (2048, 32), (3200, 32), (4096, 32)]
)
def test_heads_of_llamagens_sizes(released, width, heads):
    outline = of_width(released, width)
    assert infer_model(outline, VQ_16, XL, name="x").decoder.num_heads == heads


def test_heads_that_shapes_do_not_tell_are_asked_for(released):
    outline = of_width(released, 96)
    with pytest.raises(ValueError, match=r"how many heads a decoder of width 96 has; .*decoder: \{num_heads: N\}"):
        infer_model(outline, VQ_16, XL, name="x")
    assert infer_model(outline, VQ_16, XL, name="x", given={"decoder": {"num_heads": 3}}).decoder.num_heads == 3


def test_what_is_given_overrules(released):
    given = {"context": 600, "name": "mine", "decoder": {"prefix_rope": "zero"}, "null_condition": "learned"}
    config = infer_model(released, VQ_16, XL, name="x", image_size=512, given=given)
    assert config == replace(
        XL, name="mine", context=600, null_condition="learned", decoder=replace(XL.decoder, prefix_rope="zero")
    )
    with pytest.raises(ValueError, match="unknown key 'decoder.widht'; did you mean 'width'"):
        infer_model(released, VQ_16, XL, name="x", given={"decoder": {"widht": 3}})


def test_given_values_that_are_no_keys_are_refused(released):
    with pytest.raises(ValueError, match="image_tokenizer: expected keys and values, got 'vq16'"):
        infer_image_tokenizer({}, "vq16")
    with pytest.raises(ValueError, match="decoder: expected keys and values, got None"):
        infer_model(released, VQ_16, XL, name="x", given={"decoder": None})
    assert infer_image_tokenizer({}, {"downsample": 8}) == replace(VQ_16, downsample=8)


@pytest.mark.parametrize("size", [500, 0, -16])
def test_picture_sizes_must_fit_the_tokens(released, size):
    with pytest.raises(ValueError, match=f"a picture of {size} px is no whole number of tokens of 16 px"):
        infer_model(released, VQ_16, XL, name="x", image_size=size)


@pytest.mark.parametrize("shape", [(3,), (0, 0), (1, 1, 1, 1, 1), (), (16384, 1281)])
def test_one_wrong_tensor_does_not_change_the_sizes(released, shape):
    wrong = torch.empty(shape, device="meta")
    for name in ("decoder.norm.weight", "encoder.vision.trunk.encoder.layers.0.mlp.fc1.weight"):
        assert infer_model(released | {name: wrong.to(released[name].dtype)}, VQ_16, XL, name="x", image_size=512) == XL


def test_what_is_missing_is_as_in_the_preset():
    assert infer_model({}, VQ_16, XL, name="x", image_size=512) == XL
