"""The multimodal encoder against the reference: CLIP features, projected tokens, FLAN-T5 states with images spliced in."""

from __future__ import annotations

import pytest
import torch

from mentor.config.model import ConnectorConfig
from mentor.models.multimodal_encoder import MultimodalEncoder
from tests.parity.released import encoder_weights, language_config, vision_config


@pytest.fixture(params=["gelu", "gelu_new"])
def case(request, golden):
    loaded = golden("encoder")
    meta = loaded.meta
    encoder = MultimodalEncoder(vision_config(meta), language_config(meta, request.param), ConnectorConfig()).eval()
    encoder.load_state_dict(encoder_weights(loaded.weights))
    return loaded, encoder, request.param


def run(loaded, encoder, name):
    io = {key.removeprefix(f"{name}."): value for key, value in loaded.io.items() if key.startswith(f"{name}.")}
    size = encoder.vision.config.image_size
    pixels = io["in.pixel_values"][io["in.img_mask"]] if "in.img_mask" in io else torch.zeros(0, 3, size, size)
    features = encoder.encode_images(pixels)
    return io, features, lambda: encoder(io["in.input_ids"], io["in.attention_mask"].bool(), features)


@pytest.mark.parametrize("name", ["one_image", "two_images", "text_only", "mixed", "truncated_placeholders"])
def test_states(case, name):
    loaded, encoder, activation = case
    with torch.no_grad():
        io, features, states = run(loaded, encoder, name)
        if name != "text_only":
            torch.testing.assert_close(features, io["out.clip_features"], **loaded.meta["tol"])
            torch.testing.assert_close(encoder.connector(features), io["out.projected"], **loaded.meta["tol"])
        torch.testing.assert_close(states(), io[f"out.{activation}"], **loaded.meta["tol"])


def test_a_cut_off_prompt_raises_where_the_reference_shifts_images_to_the_wrong_prompt(case):
    loaded, encoder, _ = case
    io, features, _ = run(loaded, encoder, "truncated_placeholders")
    ids, mask = (io[f"in.{name}"][:, :36] for name in ("input_ids", "attention_mask"))
    with pytest.raises(ValueError, match="6 image placeholders, but 2 images of 4 visual tokens make 8"):
        encoder(ids, mask.bool(), features)
