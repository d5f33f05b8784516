"""Names: every official name has one of ours and comes back, and nothing else has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor.checkpoint.official import (
    EMBEDDING,
    IMAGE_TOKENIZER_NAMES,
    LANGUAGE_NAMES,
    MODEL_NAMES,
    PROJECTOR_NAMES,
    SHARED,
    VISION_NAMES,
    from_official,
    rename,
    to_official,
)
from tests.models.official_keys import official_keys


@pytest.mark.parametrize(("name", "count"), [("mentor_gpt_xl", 873), ("llamagen_t2i_xl", 258)])
def test_every_name_of_the_released_checkpoints_comes_back(name, count):
    keys = official_keys(name)
    assert len(keys) == count
    renamed = rename(keys)
    assert renamed.unknown == []
    assert renamed.ignored == {}
    assert len(renamed.ours) == count - (SHARED in keys)
    for ours, theirs in renamed.ours.items():
        assert from_official(theirs) == ours
        assert to_official(ours) == theirs


@pytest.mark.parametrize(("name", "count"), [("vq16", 345), ("vq8", 301)])
def test_image_tokenizers_keep_their_names_and_lose_the_count_of_codes(name, count):
    keys = official_keys(name)
    renamed = rename(keys, IMAGE_TOKENIZER_NAMES)
    assert renamed.ours == {key: key for key in keys if key != "quantize.codebook_used"}
    assert len(renamed.ours) == len(keys) - 1
    assert renamed.ignored == {"the training's count of codes": 1}
    assert renamed.unknown == []


def test_of_two_word_embeddings_the_encoders_own_counts():
    own = "multimodal_encoder.language_model.encoder.embed_tokens.weight"
    for names in ([own, SHARED], [SHARED, own]):
        assert rename(names).ours == {EMBEDDING: own}
    assert rename([SHARED]).ours == {EMBEDDING: SHARED}
    assert to_official(EMBEDDING) == own
    for names in (["shared.weight", "encoder.embed_tokens.weight"], ["encoder.embed_tokens.weight", "shared.weight"]):
        assert rename(names, LANGUAGE_NAMES).ours == {EMBEDDING: "encoder.embed_tokens.weight"}


def test_what_is_no_weight_is_counted_and_not_unknown():
    names = [f"layers.{i}.attention.kv_cache.{which}_cache" for i in range(3) for which in "kv"]
    names += ["freqs_cis", "multimodal_encoder.vision_model.vision_tower.vision_model.embeddings.position_ids"]
    renamed = rename([*names, "layers.0.attention.kv_cache.k_cache.weight"])
    assert sum(renamed.ignored.values()) == 8
    assert renamed.ignored["key-value caches of a generation"] == 6
    assert renamed.ours == {
        "decoder.layers.0.attention.kv_cache.k_cache.weight": "layers.0.attention.kv_cache.k_cache.weight"
    }


@pytest.mark.parametrize(
    "name",
    ["layer.0.w", "encoder.block.0.x", "cls_embedding.uncond_embedding2", "normal.weight", "model.norm.weight", ""],
)
def test_other_names_are_unknown(name):
    assert from_official(name) is None
    assert rename([name]).unknown == [name]


@given(
    st.sampled_from([MODEL_NAMES, PROJECTOR_NAMES, LANGUAGE_NAMES, VISION_NAMES]).flatmap(
        lambda table: st.tuples(st.just(table), st.sampled_from(list(table)), st.text("ab.0", min_size=1, max_size=6))
    )
)
def test_names_map_one_to_one(case):
    table, prefix, rest = case
    name = prefix + rest if prefix.endswith(".") else prefix
    ours = from_official(name, table)
    if prefix and ours is not None:
        back = to_official(ours, table)
        # Where two of theirs are one of ours, the first of the table is the name it gets.
        assert back == name or (table in (LANGUAGE_NAMES, MODEL_NAMES) and name.endswith("shared.weight"))
        assert from_official(back, table) == ours
