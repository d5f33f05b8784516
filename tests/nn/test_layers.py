from __future__ import annotations

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaMLP, LlamaRMSNorm

from mentor.nn.layers import RMSNorm, SwiGLU


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_rms_norm_matches_transformers(scale):
    theirs, ours = LlamaRMSNorm(24, eps=1e-5), RMSNorm(24, eps=1e-5)
    torch.manual_seed(0)
    with torch.no_grad():
        weight = torch.randn(24)
        theirs.weight.copy_(weight)
        ours.weight.copy_(weight)
    x = torch.randn(3, 5, 24) * scale
    torch.testing.assert_close(ours(x), theirs(x))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)])
def test_rms_norm_gradient_is_the_derivative(shape):
    torch.manual_seed(0)
    norm = RMSNorm(6).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    norm.weight.data.normal_()

    def reference(x, weight):
        return x * (x.square().mean(-1, keepdim=True) + norm.eps).rsqrt() * weight

    direction = torch.randn(shape, dtype=torch.float64)
    ours = torch.autograd.grad((norm(x) * direction).sum(), (x, norm.weight))
    expected = torch.autograd.grad((reference(x, norm.weight) * direction).sum(), (x, norm.weight))
    for got, want in zip(ours, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-10)


def test_rms_norm_has_no_second_derivative():
    """Its gradient is written by hand, for one derivative: a second one through it would leave terms out."""
    x = torch.ones(2, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(RMSNorm(8)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        (x.sum() + grad.square().sum()).backward()


def test_bfloat16_is_rounded_once_where_no_gradient_is_wanted():
    """As LlamaGen's norm: computed in float32, cast, then multiplied; also more rows than the native kernels take."""
    norm, x = RMSNorm(256).bfloat16(), torch.randn(100, 256, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
        wide = x.float()
        expected = (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)).bfloat16() * norm.weight
        assert (norm(x) == expected).float().mean() > 0.999


def test_rms_norm_keeps_bfloat16_and_stays_close_to_float32():
    torch.manual_seed(0)
    x = torch.randn(16, 256)
    norm = RMSNorm(256)
    exact = norm(x)
    rounded = norm.bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.01)


def test_rms_norm_of_zeros_is_zero_with_a_finite_gradient():
    x = torch.zeros(2, 8, requires_grad=True)
    y = RMSNorm(8)(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 8))
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_swiglu_matches_transformers():
    torch.manual_seed(0)
    theirs = LlamaMLP(LlamaConfig(num_attention_heads=2, hidden_size=16, intermediate_size=40))
    ours = SwiGLU(16, 40)
    names = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
    ours.load_state_dict({f"{own}.weight": theirs.state_dict()[f"{name}.weight"] for own, name in names.items()})
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(ours(x), theirs(x))
