"""The connectors behind one interface; the MLP's activations against transformers' own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from transformers.activations import ACT2FN

from mentor.config.model import ConnectorConfig
from mentor.models.connector import ACTIVATIONS, MLPConnector, build_connector
from mentor.models.query_former import QueryFormerConnector

MLP = ConnectorConfig(hidden=12)
QUERY_FORMER = ConnectorConfig(
    kind="query_former", hidden=16, queries=3, num_layers=2, num_heads=2, mlp_width=32, vocab_size=20, max_positions=8
)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_activations_are_those_of_transformers(activation):
    torch.manual_seed(0)
    connector = MLPConnector(dataclasses.replace(MLP, activation=activation), 5, 7)
    features = torch.randn(2, 4, 5) * 3
    with torch.no_grad():
        expected = connector.fc2(ACT2FN[activation](connector.fc1(features)))
        torch.testing.assert_close(connector(features), expected, atol=1e-6, rtol=1e-6)


def test_the_two_forms_of_gelu_differ():
    values = torch.linspace(-3, 3, 50)
    assert 1e-4 < (ACTIVATIONS["gelu"]()(values) - ACTIVATIONS["gelu_new"]()(values)).abs().max() < 1e-2


@pytest.mark.parametrize(
    ("config", "kind", "tokens"), [(MLP, MLPConnector, 4), (QUERY_FORMER, QueryFormerConnector, 3)]
)
def test_both_kinds_take_stored_features_and_a_query_text(config, kind, tokens):
    connector = build_connector(config, 5, 7).eval()
    assert isinstance(connector, kind)
    assert connector.output.out_features == 7
    features, ids = torch.randn(2, 4, 5).half(), torch.tensor([[1, 2], [3, 0]])
    with torch.no_grad():
        made = connector(features, ids, ids > 0)
        assert (made.shape, made.dtype) == ((2, tokens, 7), torch.float32)
        assert connector(features[:0], ids[:0], ids[:0] > 0).shape == (0, tokens, 7)
        plain = connector(features)
    assert torch.equal(made, plain) == (kind is MLPConnector)


@pytest.mark.parametrize("change", [{"kind": "resampler"}, {"activation": "relu"}])
def test_an_unknown_choice_is_refused(change):
    with pytest.raises(ValueError, match=f"unknown connector.{next(iter(change))}"):
        build_connector(dataclasses.replace(MLP, **change), 5, 7)
