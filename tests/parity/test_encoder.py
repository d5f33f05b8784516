"""The multimodal encoder against the reference: CLIP features, projected tokens, FLAN-T5 states with images spliced in.

Shapes: B batch, S condition tokens, M images of all prompts, P visual tokens an image, De width of the language encoder.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mentor.models.multimodal_encoder import MultimodalEncoder, splice
from tests.parity.fixtures import Checks, Golden
from tests.parity.models import encoder

checks = Checks("encoder", given=(r".+\.in\.(input_ids|attention_mask|pixel_values|img_mask)",))


def test_entry(golden, entry, record_property):
    checks.verify(golden, entry, record_property)


def test_what_the_json_says(golden):
    assert {name: list(value.shape) for name, value in golden.weights.items()} == golden.meta["state_dict_keys"]
    assert {name for (name,) in golden.numbered(r"(.+)\.in\.input_ids")} == set(golden.meta["cases"])
    assert (golden.meta["mm_projector_type"], golden.meta["mm_vision_select_feature"]) == ("mlp2x_gelu", "patch")


def prompt(golden: Golden, case: str) -> tuple[Tensor, Tensor]:
    """Right-padded ids int64 [B, S] and mask bool [B, S]."""
    return golden.io[f"{case}.in.input_ids"], golden.io[f"{case}.in.attention_mask"].bool()


@torch.no_grad()
def features(golden: Golden, case: str, model: MultimodalEncoder) -> Tensor:
    """[M, P, Dv]; M is 0 in a case of text alone."""
    if f"{case}.in.pixel_values" not in golden.io:
        side = model.vision.config.image_size
        return model.encode_images(torch.zeros(0, 3, side, side))
    real = golden.io[f"{case}.in.img_mask"]
    return model.encode_images(golden.io[f"{case}.in.pixel_values"][real])


@checks.entry(r"(.+)\.out\.clip_features")
def clip_features(golden: Golden, case: str) -> Tensor:
    return features(golden, case, encoder(golden, "gelu"))


@checks.entry(r"(.+)\.out\.projected")
def projected(golden: Golden, case: str) -> Tensor:
    model = encoder(golden, "gelu")
    return model.connector(features(golden, case, model))


@checks.entry(r"(.+)\.out\.(\w+)")
@torch.no_grad()
def states(golden: Golden, case: str, activation: str) -> Tensor:
    model = encoder(golden, activation)
    visual, (ids, mask) = features(golden, case, model), prompt(golden, case)
    where = ids == model.image_token_id
    placeholders = int(where.sum())
    if placeholders == visual.shape[0] * visual.shape[1]:
        return model(ids, mask, visual)
    # Truncation cut placeholders off. The reference then fills what is left with the first vectors, so that later prompts get
    # parts of the wrong image; ours refuses, and gives the same numbers when it is made to do so.
    with pytest.raises(ValueError, match=f"the prompts have {placeholders} image placeholders"):
        model(ids, mask, visual)
    first = model.connector(visual).flatten(0, 1)[:placeholders, None]
    return model.language(splice(model.language.embed(ids), first, where), mask)


def test_a_cut_off_prompt_raises_where_the_reference_shifts_images_to_the_wrong_prompt(golden):
    model = encoder(golden, "gelu")
    for case in golden.meta["cases"]:
        ids, mask = prompt(golden, case)
        columns = (ids == model.image_token_id).any(0).nonzero()
        if len(columns):
            end = int(columns[-1])
            with pytest.raises(ValueError, match=r"image placeholders, but \d+ images of \d+ visual tokens make \d+"):
                model(ids[:, :end], mask[:, :end], features(golden, case, model))
