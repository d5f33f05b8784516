"""A Query-Former out of hub folders: the numbers of transformers' own models, strictly, in every layout of files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2ForImageTextRetrieval

from mentor.checkpoint.query_former import PARTS, load_query_former, read_query_tokenizer, with_query_former
from mentor.checkpoint.store import load_bundle, new_bundle, save_bundle
from mentor.config.presets import PRESETS
from mentor.data.processor import Processor
from mentor.models.query_former import QueryFormerConnector
from mentor.prompt import Prompt
from tests.construction.published import bert_tokenizer_json
from tests.generation.tiny_bundle import tiny_bundle
from tests.models.test_query_former import CONFIG, IDS, MASK, OUT, WIDTH, instruct_blip

LAST = CONFIG.num_layers - 1


def blip_2(**qformer: Any) -> Blip2Config:
    config = instruct_blip().config.to_dict()
    parts = {name: config[name] for name in ("vision_config", "text_config", "num_query_tokens")}
    for part in parts, parts["vision_config"]:
        part.pop("model_type", None)
    return Blip2Config(**parts, qformer_config={**config["qformer_config"], "model_type": "blip_2_qformer", **qformer})


def randomised(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model.eval()


def connector(width: int = WIDTH, out: int = OUT) -> QueryFormerConnector:
    torch.manual_seed(1)
    return QueryFormerConnector(CONFIG, width, out).eval()


@pytest.fixture
def instruct(tmp_path: Path) -> tuple[Any, Path]:
    model, folder = randomised(instruct_blip()), tmp_path / "instructblip"
    model.save_pretrained(folder)
    return model, folder


def same_as(model: Any, made: QueryFormerConnector) -> bool:
    pixels = torch.randn(3, 3, 6, 6)
    with torch.no_grad():
        image = model.vision_model(pixels).last_hidden_state
        expected = model.get_image_features(pixels, IDS, MASK.long()).pooler_output
        return torch.allclose(made(image, IDS, MASK), expected, atol=1e-5, rtol=1e-5)


def test_instructblip_gives_its_numbers(instruct):
    model, folder = instruct
    made = connector()
    assert not same_as(model, made)
    assert load_query_former(made, folder) == []
    assert same_as(model, made)


def test_shards_and_pickles_give_the_same(instruct, tmp_path):
    model, _ = instruct
    state = model.state_dict() | {"qformer.embeddings.position_ids": torch.arange(8)[None]}  # older files have it
    names = sorted(state)
    layouts = {name: tmp_path / name for name in ("shards", "pickle", "pickles")}
    model.save_pretrained(layouts["shards"], max_shard_size="20KB")
    assert len(list(layouts["shards"].glob("model-*.safetensors"))) > 2
    for name in ("pickle", "pickles"):
        layouts[name].mkdir()
        model.config.save_pretrained(layouts[name])
    torch.save(state, layouts["pickle"] / "pytorch_model.bin")
    for number in (1, 2):
        part = {name: state[name] for name in names[number - 1 :: 2]}
        torch.save(part, layouts["pickles"] / f"pytorch_model-{number:05d}-of-00002.bin")
    for folder in layouts.values():
        made = connector()
        assert load_query_former(made, folder) == []
        assert same_as(model, made)
    (layouts["pickles"] / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(ValueError, match="1 of 2 shards"):
        load_query_former(connector(), layouts["pickles"])


def test_blip_2_without_text_gives_its_numbers_and_says_what_it_lacks(tmp_path):
    model = randomised(Blip2ForConditionalGeneration(blip_2()))
    model.save_pretrained(tmp_path)
    made = connector()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(ValueError, match=r"word_embeddings.weight is missing;.*\(and \d+ more\); .* fresh=\['text'\]"):
        load_query_former(made, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items()), "changed all the same"
    left = load_query_former(made, tmp_path, fresh=["text"])
    assert left == [name for name in before if PARTS["text"].search(name)]
    assert len(left) == 2 + 8 - 2 + 6 * (CONFIG.num_layers - 1)
    assert all(torch.equal(made.state_dict()[name], before[name]) for name in left)
    pixels = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        image = model.vision_model(pixels).last_hidden_state
        expected = model.get_image_features(pixels).pooler_output
        torch.testing.assert_close(made(image), expected, atol=1e-5, rtol=1e-5)


def test_blip_2_that_reads_text_gives_its_queries(tmp_path):
    model = randomised(Blip2ForImageTextRetrieval(blip_2(use_qformer_text_input=True)))
    model.save_pretrained(tmp_path)
    made = connector()
    assert load_query_former(made, tmp_path, fresh=["projection"]) == [
        "language_projection.weight",
        "language_projection.bias",
    ]
    image = torch.randn(3, 5, WIDTH)
    queries = model.query_tokens.expand(3, -1, -1)
    with torch.no_grad():
        expected = model.qformer(
            query_embeds=model.embeddings(input_ids=IDS, query_embeds=queries),
            query_length=CONFIG.queries,
            attention_mask=torch.cat([torch.ones(3, CONFIG.queries), MASK], dim=1),
            encoder_hidden_states=image,
        ).last_hidden_state[:, : CONFIG.queries]
        torch.testing.assert_close(made(image, IDS, MASK), made.language_projection(expected), atol=1e-5, rtol=1e-5)


def test_another_vision_tower_and_language_model_need_permission(instruct):
    _, folder = instruct
    made = connector(WIDTH + 8, OUT + 4)
    with pytest.raises(ValueError, match=rf"key.weight has shape \[16, {WIDTH}\].* fresh=\['projection', 'vision'\]"):
        load_query_former(made, folder)
    with pytest.raises(ValueError, match=r"language_projection.weight has shape .* fresh=\['projection', 'vision'\]"):
        load_query_former(made, folder, fresh=["vision"])
    left = load_query_former(made, folder, fresh=["vision", "projection"])
    cross = "qformer.encoder.layer.0.crossattention.attention"
    assert left == [
        f"{cross}.key.weight",
        f"{cross}.value.weight",
        "language_projection.weight",
        "language_projection.bias",
    ]
    assert load_query_former(connector(), folder, fresh=list(PARTS)) == [], "what fits is taken, allowed to stay or not"


def test_number_types_are_those_of_the_connector(instruct):
    model, folder = instruct
    made = connector().bfloat16()
    load_query_former(made, folder)
    assert torch.equal(made.query_tokens, model.query_tokens.bfloat16())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 4}, r"query_tokens has shape \[1, 3, 16\], the connector's \[1, 4, 16\]$"),
        ({"vocab_size": 21}, r"word_embeddings.weight has shape \[20, 16\], .* fresh=\['text'\]"),
        ({"num_layers": 3}, r"layer.2.attention.* is missing.*more\)$"),
        ({"num_layers": 1}, r"layer.1.attention.* is not part of the configured connector.*more\)$"),
        ({"num_heads": 4}, "has num_attention_heads 2, the connector 4"),
        ({"activation": "silu"}, "has hidden_act gelu, the connector silu"),
        ({"cross_attention_every": 1}, "has cross_attention_frequency 2, the connector 1"),
    ],
)
def test_another_shape_or_setting_is_refused(instruct, change, message):
    with pytest.raises(ValueError, match=message):
        load_query_former(QueryFormerConnector(replace(CONFIG, **change), WIDTH, OUT), instruct[1])


def test_foreign_and_damaged_folders_are_refused(instruct, tmp_path):
    _, folder = instruct
    with pytest.raises(ValueError, match="has no part 'eyes'; known: vision, text, projection"):
        load_query_former(connector(), folder, fresh=["eyes"])
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="model.safetensors is not a readable safetensors file"):
        load_query_former(connector(), folder)
    weights.unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        load_query_former(connector(), folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ValueError, match="a transformers model of type t5; expected InstructBLIP or BLIP-2"):
        load_query_former(connector(), folder)
    for content in ("[]", '{"model_type": "blip-2", "qformer_config": 3}'):
        (folder / "config.json").write_text(content)
        with pytest.raises(ValueError, match="expected"):
            load_query_former(connector(), folder)
    with pytest.raises(ValueError, match="config.json cannot be read"):
        load_query_former(connector(), tmp_path / "nothing")


def test_the_tokenizer_comes_along(instruct, tmp_path):
    _, folder = instruct
    with pytest.raises(ValueError, match="no tokenizer of a Query-Former"):
        read_query_tokenizer(folder)
    (folder / "qformer_tokenizer").mkdir()
    (folder / "qformer_tokenizer" / "tokenizer.json").write_bytes(bert_tokenizer_json())
    assert read_query_tokenizer(folder).encode("the fox").tokens[:4] == ["[CLS]", "the", "fox", "[SEP]"]
    blip_2(use_qformer_text_input=True).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(bert_tokenizer_json())
    assert read_query_tokenizer(tmp_path).token_to_id("fox") == 7


def test_an_untrained_small_model_reads_queries_with_its_own_words():
    preset = PRESETS["mini-64"]
    words = preset.language.vocab_size
    bundle = new_bundle(replace(preset, connector=replace(CONFIG, vocab_size=words)))
    processor = Processor(bundle.config, bundle.text_tokenizer, bundle.query_tokenizer)
    assert processor.query_tokenizer.encode("red fox").tokens == ["[CLS]", "red", "fox", "[SEP]"]
    assert new_bundle(preset).query_tokenizer is None


def test_a_model_gets_a_query_former_and_is_saved_with_it(instruct, tmp_path):
    model, folder = instruct
    config = replace(CONFIG, vocab_size=20)
    with pytest.raises(ValueError, match="no tokenizer of a Query-Former"):
        with_query_former(tiny_bundle(), config, folder)
    words = {word: number for number, word in enumerate(["[UNK]", "fox", "hat"])}
    (folder / "qformer_tokenizer").mkdir()
    Tokenizer(WordLevel(words, unk_token="[UNK]")).save(str(folder / "qformer_tokenizer" / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"fresh=\['projection', 'vision'\]"):
        with_query_former(tiny_bundle(), config, folder)
    bundle, left = with_query_former(tiny_bundle(), config, folder, fresh=["vision", "projection"])
    assert len(left) == 4
    assert bundle.config.name == "tiny-query-former"
    tokenizers = {"text_tokenizer": bundle.text_tokenizer, "query_tokenizer": bundle.query_tokenizer}
    saved = load_bundle(save_bundle(tmp_path / "saved", bundle.mentor, bundle.image_tokenizer, **tokenizers))
    assert saved.config == bundle.config
    assert torch.equal(saved.mentor.encoder.connector.query_tokens, model.query_tokens)
    batch = Processor(saved.config, saved.text_tokenizer, saved.query_tokenizer)(
        [Prompt("<image>", [Image.new("L", (9, 9))])]
    )
    features = saved.mentor.encoder.encode_images(batch.pixel_values)
    states, _ = saved.mentor.condition(
        batch.input_ids, batch.attention_mask, features, batch.query_ids, batch.query_mask
    )
    assert states.shape == (1, CONFIG.queries, 16)
    text_only = replace(saved, config=replace(saved.config, vision=None, connector=None))
    with pytest.raises(ValueError, match="reads text only"):
        with_query_former(text_only, config, folder)
