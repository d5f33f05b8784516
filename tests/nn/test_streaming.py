"""The native kernels compute what PyTorch computes, and leave alone what is not theirs."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from mentor.nn.rope import grid_rotation, rotate
from mentor.nn.streaming import AMX_ROWS, MAX_ROWS, StreamingLinear, attend_step, most_rows, native, rms_norm
from tests.nn.native.variants import use, variants

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2**-8, "atol": 2**-9}}
"""Of the largest number: float32 adds in another order, bfloat16 is rounded once at the end."""
ANY_SIZE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def close(ours: torch.Tensor, exact: torch.Tensor) -> None:
    """``ours`` is ``exact`` (float64) within the rounding of its own number type."""
    size = exact.abs().max().clamp(min=1e-30)
    torch.testing.assert_close((ours.double() / size), exact / size, **TOLERANCE[ours.dtype])


@variants
@DTYPES
@given(rows=st.integers(1, MAX_ROWS), width=st.integers(1, 300), outputs=st.integers(1, 90), threads=st.integers(1, 3))
@ANY_SIZE
def test_products_of_any_size(monkeypatch, flags, dtype, rows, width, outputs, threads):
    use(monkeypatch, flags)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(rows * 1000 + width + outputs)
    layer = StreamingLinear(width, outputs).to(dtype)
    layer.weight.copy_(torch.randn(outputs, width, generator=generator))
    x = torch.randn(rows, width, generator=generator).to(dtype)
    y = layer(x)
    assert y.dtype is dtype and y.shape == (rows, outputs)
    close(y, x.double() @ layer.weight.double().T)


@DTYPES
def test_a_row_does_not_depend_on_the_others_nor_on_the_threads(monkeypatch, dtype):
    use(monkeypatch, ())
    torch.manual_seed(0)
    layer = StreamingLinear(640, 2000).to(dtype)
    x = torch.randn(5, 640).to(dtype)
    together = layer(x)
    assert torch.equal(together, torch.cat([layer(row[None]) for row in x]))
    for threads in (1, 2, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(together, layer(x))


@pytest.mark.parametrize("special", [float("nan"), float("inf"), -float("inf")])
@DTYPES
def test_what_is_not_finite_stays_so(monkeypatch, dtype, special):
    use(monkeypatch, ())
    layer = StreamingLinear(96, 4).to(dtype)
    layer.weight.fill_(1.0)
    x = torch.ones(2, 96, dtype=dtype)
    x[1, 50] = special
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight), equal_nan=True)


@variants
@DTYPES
@given(rows=st.integers(1, MAX_ROWS), width=st.integers(1, 200), scale=st.sampled_from([1e-3, 1.0, 1e3]))
@ANY_SIZE
def test_norms_of_any_size(monkeypatch, flags, dtype, rows, width, scale):
    use(monkeypatch, flags)
    generator = torch.Generator().manual_seed(rows * 1000 + width)
    x = (torch.randn(rows, width, generator=generator) * scale).to(dtype)
    weight = torch.randn(width, generator=generator).to(dtype)
    y = rms_norm(x, weight, 1e-5)
    assert y is not None and y.dtype is dtype
    close(y, x.double() * (x.double().square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight.double())


def attention(qkv, rotation, keys, values, start, bias):
    """What a step is, in float64; the new key and value are rounded to the cache's numbers."""
    _, heads, _, _ = keys.shape
    dtype = keys.dtype
    q, k = rotate(qkv[:, :, : 2 * heads], rotation).to(dtype).transpose(1, 2).chunk(2, dim=1)
    keys = torch.cat((keys[:, :, :start], k), dim=2).double()
    values = torch.cat((values[:, :, :start], qkv[:, :, 2 * heads :].transpose(1, 2)), dim=2).double()
    bias = None if bias is None else bias.double()
    attended = F.scaled_dot_product_attention(q.double(), keys, values, attn_mask=bias)
    return attended.transpose(1, 2).flatten(2), k, qkv[:, :, 2 * heads :].transpose(1, 2)


@variants
@DTYPES
@given(
    batch=st.integers(1, 4),
    heads=st.integers(1, 3),
    width=st.sampled_from([32, 64, 96, 128, 256]),
    start=st.integers(0, 300),
    masked=st.booleans(),
    scale=st.sampled_from([0.1, 1.0, 12.0]),
)
@ANY_SIZE
def test_attention_of_any_size(monkeypatch, flags, dtype, batch, heads, width, start, masked, scale):
    use(monkeypatch, flags)
    generator = torch.Generator().manual_seed(start * 7 + width + batch)
    capacity = start + 1 + start % 5
    qkv = (torch.randn(batch, 1, 3 * heads, width, generator=generator) * scale).to(dtype)
    keys, values = (torch.randn(batch, heads, capacity, width, generator=generator).to(dtype) for _ in range(2))
    rotation = grid_rotation(2, width)[3:4]
    bias = None
    if masked:
        hidden = torch.rand(batch, 1, 1, start + 1, generator=generator) < 0.7
        hidden[..., -1] = False  # a position sees itself
        bias = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)
    expected, new_key, new_value = attention(qkv, rotation, keys, values, start, bias)
    rest = keys[:, :, start + 1 :].clone()

    attended = attend_step(qkv, rotation, keys, values, start, bias)

    assert attended is not None and attended.dtype is dtype
    close(attended, expected)
    close(keys[:, :, start], new_key[:, :, 0].double())
    assert torch.equal(values[:, :, start], new_value[:, :, 0])
    assert torch.equal(keys[:, :, start + 1 :], rest)


def test_a_cache_that_does_not_fit_is_left_to_pytorch(monkeypatch):
    use(monkeypatch, ())
    qkv, rotation = torch.zeros(2, 1, 6, 32), torch.ones(1, 16, 2)
    keys, values = torch.zeros(2, 2, 5, 32), torch.zeros(2, 2, 5, 32)
    assert attend_step(qkv, rotation, keys, values, 4, None) is not None
    for wrong in (
        (qkv[:1], rotation, keys, values, 4, None),
        (qkv, rotation[:0], keys, values, 4, None),
        (qkv, rotation[:, :1].expand(1, 16, 2), keys, values, 4, None),
        (qkv, rotation, keys, values[:, :, :4], 4, None),
        (qkv, rotation, keys[:, :, ::2], values[:, :, ::2], 1, None),
        (qkv, rotation, keys, values, 5, None),
        (qkv, rotation, keys, values, -1, None),
        (qkv, rotation, keys, values, 4, torch.zeros(2, 1, 1, 4)),
        (qkv, rotation, keys, values, 4, torch.zeros(2, 1, 1, 5, dtype=torch.bfloat16)),
        (qkv[..., :16], rotation[:, :8], keys[..., :16].contiguous(), values[..., :16].contiguous(), 4, None),
    ):
        assert attend_step(*wrong) is None


def test_what_the_kernels_do_not_take(monkeypatch):
    use(monkeypatch, ())
    weight, x = torch.nn.Parameter(torch.randn(6, 8)), torch.randn(2, 8)
    assert native(x, weight, 2) is not None
    with torch.enable_grad():
        assert native(x, weight, 2) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert native(x, weight, 2) is None
    assert native(x.half(), weight.half(), 2) is None
    assert native(x.double(), weight.double(), 2) is None
    assert native(x.bfloat16(), weight, 2) is None
    assert native(x, weight.to("meta"), 2) is None
    assert native(torch.randn(8, 2).T, weight, 2) is None
    other = type("Other", (torch.Tensor,), {})
    assert native(x, weight.as_subclass(other), 2) is None
    assert native(x.as_subclass(other), weight, 2) is None
    for rows in (0, MAX_ROWS + 1):
        assert native(x, weight, rows) is None
    layer = StreamingLinear(8, 6)
    for rows in (0, MAX_ROWS + 1):
        many = torch.randn(rows, 8)
        torch.testing.assert_close(layer(many), F.linear(many, layer.weight))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer(torch.randn(2, 4))


def test_who_follows_the_operations_sees_them(monkeypatch):
    """Each of these reads an operation as it is dispatched: one that the kernels did would be missing, or wrong."""
    use(monkeypatch, ())
    layer, x = StreamingLinear(32, 6), torch.randn(5, 2, 32)
    expected = torch.stack([F.linear(each, layer.weight) for each in x])
    with FlopCounterMode(display=False) as counted:
        torch.testing.assert_close(layer(x), expected)
    assert counted.get_total_flops() == 2 * 5 * 2 * 32 * 6
    torch.testing.assert_close(torch.func.vmap(layer)(x), expected)
    torch.testing.assert_close(make_fx(layer)(x[0])(x[1]), expected[1])  # traced with one input, called with another
    assert native(x, layer.weight, 10) is not None, "afterwards all is as before"


def test_matrix_units_leave_fewer_rows_to_the_kernels(monkeypatch):
    if not hasattr(torch.cpu, "get_capabilities"):
        pytest.skip("before torch 2.10 a processor is not asked")
    for amx, rows in ((False, MAX_ROWS), (True, AMX_ROWS)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda amx=amx: {"amx_bf16": amx})
        most_rows.cache_clear()
        assert (most_rows(torch.bfloat16), most_rows(torch.float32)) == (rows, MAX_ROWS)
    most_rows.cache_clear()


def test_the_kernels_have_room_for_as_many_rows():
    source = (files("mentor.nn.native") / "linear.c").read_text()
    assert re.search(r"MAX_ROWS = (\d+),", source)[1] == str(MAX_ROWS)


def test_gradients_flow_as_in_a_linear_layer():
    layer = StreamingLinear(8, 6)
    with torch.enable_grad():
        layer(torch.ones(2, 8)).sum().backward()
    torch.testing.assert_close(layer.weight.grad, torch.full((6, 8), 2.0))
