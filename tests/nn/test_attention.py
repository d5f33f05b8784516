from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mentor.nn import attention
from mentor.nn.attention import CausalSelfAttention, KVCache, attend
from mentor.nn.masks import attention_bias, causal_prefix_mask
from mentor.nn.rope import grid_rotation, prefix_rotation


def bias_for(length: int) -> torch.Tensor:
    mask = torch.arange(3) >= torch.tensor([[0], [2]])
    return attention_bias(causal_prefix_mask(mask, length - 3), torch.float32)


@pytest.mark.parametrize("limit", [0, 512])
def test_attend_matches_the_definition_on_both_sides_of_the_length_rule(monkeypatch, limit):
    monkeypatch.setattr(attention, "PLAIN_ATTENTION_MAX_LENGTH", limit)
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 7, 8)
    bias = bias_for(7)
    logits = torch.einsum("bhqk,bhtk->bhqt", q.double(), k.double()) / 8**0.5 + bias.double()
    expected = (logits.exp() / logits.exp().sum(-1, keepdim=True)) @ v.double()
    torch.testing.assert_close(attend(q, k, v, bias), expected.float(), atol=1e-6, rtol=1e-5)


def test_gradients_of_both_attentions_agree(monkeypatch):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 4, 7, 8, requires_grad=True) for _ in range(3)]
    gradients = []
    for limit in (0, 512):
        monkeypatch.setattr(attention, "PLAIN_ATTENTION_MAX_LENGTH", limit)
        gradients.append(torch.autograd.grad(attend(*inputs, bias_for(7)).square().sum(), inputs))
    for fused, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-4)


def test_module_is_multi_head_attention_where_nothing_turns():
    torch.manual_seed(0)
    module, theirs = CausalSelfAttention(16, 4), torch.nn.MultiheadAttention(16, 4, bias=False, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(module.wqkv.weight)
        theirs.out_proj.weight.copy_(module.wo.weight)
    x = torch.randn(2, 6, 16)
    rotation = prefix_rotation("identity", 6, 4, torch.device("cpu"))
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    expected, _ = theirs(x, x, x, attn_mask=~causal, need_weights=False)
    torch.testing.assert_close(module(x, rotation, attention_bias(causal, x.dtype)), expected)


def test_zeroed_queries_and_keys_average_the_values():
    torch.manual_seed(0)
    module = CausalSelfAttention(8, 2)
    x = torch.randn(1, 5, 8)
    turned = module(x, prefix_rotation("zero", 5, 4, torch.device("cpu")), None)
    values = F.linear(x, module.wqkv.weight[16:]).mean(1, keepdim=True).expand_as(x)
    torch.testing.assert_close(turned, module.wo(values))


@pytest.mark.parametrize("static", [False, True])
def test_cache_holds_what_was_written_and_nothing_else(static):
    cache = KVCache.empty(2, 1, 2, 6, 4, torch.float32, "cpu")
    assert cache.length == 6
    torch.manual_seed(0)
    old, new = torch.randn(2, 1, 2, 3, 4), torch.randn(2, 1, 2, 1, 4)
    layer = cache.layers[1]
    layer.update(*old, 0)
    keys, values = layer.update(*new, torch.tensor(3) if static else 3)
    assert keys.shape[2] == (6 if static else 4)
    for got, first, last in ((keys, old[0], new[0]), (values, old[1], new[1])):
        assert torch.equal(got[:, :, :4], torch.cat((first, last), dim=2))
    assert torch.equal(layer.keys[:, :, :4], keys[:, :, :4])
    assert not layer.keys[:, :, 4:].any()
    assert not cache.layers[0].keys.any()


def test_a_step_equals_the_last_row_of_the_whole():
    torch.manual_seed(0)
    module = CausalSelfAttention(16, 2)
    rotation = grid_rotation(3, 8)[:6]
    x = torch.randn(2, 6, 16)
    causal = attention_bias(torch.ones(6, 6, dtype=torch.bool).tril(), x.dtype)
    whole = module(x, rotation, causal)
    cache = KVCache.empty(1, 2, 2, 6, 8, x.dtype, "cpu").layers[0]
    first = module(x[:, :5], rotation[:5], causal[:5, :5], cache)
    last = module(x[:, 5:], rotation[5:], None, cache, 5)
    torch.testing.assert_close(torch.cat((first, last), dim=1), whole)
