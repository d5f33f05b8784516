"""Starting points: parts of other models, fresh modules, longer contexts; another model is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mentor.checkpoint.store import save_bundle
from mentor.config.load import to_dict
from mentor.config.model import MentorConfig
from mentor.config.sampling import GenerationSettings
from mentor.training.fitting import fitted
from mentor.training.start import starting_bundle
from tests.generation.query_former_bundle import query_former_bundle
from tests.generation.tiny_bundle import CONFIG, tiny_bundle
from tests.training.tiny import tiny_config


def _saved(folder: Path, seed: int) -> str:
    bundle = tiny_bundle(seed)
    return str(save_bundle(folder, bundle.mentor, bundle.image_tokenizer, bundle.text_tokenizer))


def _fit(model: MentorConfig, **options: object):  # type: ignore[no-untyped-def]
    given = {"parts": {}, "fresh": (), "seed": 3} | options
    return fitted(tiny_bundle(), model, "here", **given).mentor.state_dict()


def test_parts_come_from_other_models(tmp_path: Path) -> None:
    other = _saved(tmp_path / "other", seed=5)
    state = _fit(CONFIG, parts={"decoder": other, "encoder.connector": other})
    own, theirs = (tiny_bundle(seed).mentor.state_dict() for seed in (0, 5))
    for name, tensor in state.items():
        expected = theirs if name.startswith(("decoder.", "encoder.connector.")) else own
        torch.testing.assert_close(tensor, expected[name], atol=2e-3, rtol=2e-3, msg=name)  # exports are float16
        assert not (name == "decoder.output.weight" and torch.allclose(tensor, own[name]))
    with pytest.raises(ValueError, match="has no weights under 'encoder.conector'"):
        _fit(CONFIG, parts={"encoder.conector": other})


def test_fresh_modules_follow_the_seed() -> None:
    own = tiny_bundle().mentor.state_dict()
    one, two, other = (_fit(CONFIG, fresh=("encoder.connector",), seed=seed) for seed in (3, 3, 4))
    name = "encoder.connector.fc1.weight"
    assert torch.equal(one[name], two[name])
    assert not torch.equal(one[name], other[name]) and not torch.equal(one[name], own[name])
    assert all(torch.equal(one[n], own[n]) for n in own if not n.startswith("encoder.connector."))
    with pytest.raises(ValueError, match="init.fresh: expected some of encoder.connector, projector, null_condition"):
        _fit(CONFIG, fresh=("decoder",))


def test_a_longer_context_keeps_what_short_prompts_see() -> None:
    own = tiny_bundle().mentor.state_dict()["null_condition"]
    longer = _fit(replace(CONFIG, context=40))["null_condition"]
    assert longer.shape == (40, 16)
    assert torch.equal(longer[-24:], own)
    assert 0.1 < longer[:16].std() < 0.5
    assert torch.equal(_fit(replace(CONFIG, context=10))["null_condition"], own[-10:])


def test_answers_to_conflicts_may_differ_but_not_the_model() -> None:
    decoder = replace(CONFIG.decoder, prefix_rope="zero", residual_dropout=0.1, grid=8)
    sampling = GenerationSettings(cfg_scale=7.5)
    model = replace(CONFIG, null_condition="frozen", decoder=decoder, name="other", generation=sampling)
    assert fitted(tiny_bundle(), model, "here", parts={}, fresh=(), seed=0).config == model
    for wrong in (
        replace(CONFIG, decoder=replace(CONFIG.decoder, rope_base=5.0)),
        replace(CONFIG, vision=replace(CONFIG.vision, mean=(0.1, 0.1, 0.1))),
        replace(CONFIG, vision=None, connector=None),
    ):
        with pytest.raises(ValueError, match="here holds another model than the recipe's"):
            fitted(tiny_bundle(), wrong, "here", parts={}, fresh=(), seed=0)


def test_recipes_name_the_parts(tmp_path: Path) -> None:
    model = {"preset": "mini-64", "overrides": to_dict(CONFIG)}
    first, second = _saved(tmp_path / "a", 1), _saved(tmp_path / "b", 2)
    config = tiny_config(model=model, init={"bundle": first, "parts": {"decoder": second}, "fresh": ["projector"]})
    state, parts = starting_bundle(config).mentor.state_dict(), tiny_bundle(2).mentor.state_dict()
    torch.testing.assert_close(state["decoder.norm.weight"], parts["decoder.norm.weight"])
    with pytest.raises(ValueError, match="give init.bundle too"):
        starting_bundle(tiny_config(model=model, init={"image_tokenizer": "random", "fresh": ["projector"]}))


def test_a_fresh_connector_may_be_of_another_kind() -> None:
    wanted = query_former_bundle().config
    with pytest.raises(ValueError, match=r"another model than the recipe's \(connector"):
        _fit(wanted)
    bundle = fitted(tiny_bundle(), wanted, "here", parts={}, fresh=("encoder.connector",), seed=3)
    own = tiny_bundle().mentor.state_dict()
    state = bundle.mentor.state_dict()
    assert bundle.query_tokenizer is bundle.text_tokenizer  # the language encoder is a BERT, as a Query-Former is
    assert all(torch.equal(state[name], own[name]) for name in own if not name.startswith("encoder.connector."))
    fresh = {name: tensor for name, tensor in state.items() if name.startswith("encoder.connector.")}
    assert all(bool(tensor.float().abs().max() < 2) for tensor in fresh.values()), "memory that nobody wrote to"
    assert float(fresh["encoder.connector.query_tokens"].std()) == pytest.approx(0.02, rel=0.5)
    again = fitted(tiny_bundle(), wanted, "here", parts={}, fresh=("encoder.connector",), seed=3).mentor.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())
