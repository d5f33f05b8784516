"""Packed attention: each segment as if it were alone, forward and backward, on every path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mentor.nn.packed import Segments, attend_packed, attend_padded

LENGTHS = [1, 7, 300, 2, 130, 128, 300]
HEADS, WIDTH = 2, 8


def _inputs(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(sum(LENGTHS), HEADS, WIDTH, dtype=dtype, requires_grad=True) for _ in range(3)]


def _alone(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The definition, one segment after the other, in float64."""
    out = []
    for q, k, v in zip(*(x.double().split(LENGTHS) for x in (queries, keys, values)), strict=True):
        logits = torch.einsum("thk,shk->hts", q, k) * WIDTH**-0.5
        logits = logits.masked_fill(torch.ones(logits.shape[-2:]).triu(1).bool(), -torch.inf)
        out.append(torch.einsum("hts,shk->thk", logits.softmax(-1), v))
    return torch.cat(out)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
        ),
    ],
)
@pytest.mark.parametrize(
    ("attend", "dtype", "tolerance"),
    [
        (attend_packed, torch.float32, 1e-5),
        (attend_packed, torch.float64, 1e-10),
        (attend_packed, torch.bfloat16, 3e-2),
        (attend_padded, torch.float32, 1e-3),
        (attend_padded, torch.bfloat16, 3e-2),
    ],
)
def test_segments_see_themselves_alone(
    attend: Callable[..., Tensor], dtype: torch.dtype, tolerance: float, device: str
) -> None:
    tolerance = tolerance if device == "cpu" else max(tolerance, 1e-3)
    inputs, reference = _inputs(dtype), _inputs(dtype)
    attended = attend(*(x.to(device) for x in inputs), Segments.of(LENGTHS, torch.device(device))).cpu()
    expected = _alone(*reference)
    assert attended.dtype == dtype
    torch.testing.assert_close(attended.double(), expected, atol=tolerance, rtol=0)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (attended.double() * weights).sum().backward()
    (expected * weights).sum().backward()
    for given, wanted in zip(inputs, reference, strict=True):
        torch.testing.assert_close(given.grad.double(), wanted.grad.double(), atol=10 * tolerance, rtol=10 * tolerance)


def test_long_segments_take_the_fused_kernel() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1100, 1, 8, dtype=torch.bfloat16) for _ in range(3)]
    packed = attend_packed(*inputs, Segments.of([1100], torch.device("cpu")))
    alone = F.scaled_dot_product_attention(*(x.transpose(0, 1)[None].float() for x in inputs), is_causal=True)
    torch.testing.assert_close(packed.float(), alone[0].transpose(0, 1), atol=2e-2, rtol=2e-2)


def test_nothing_is_made_on_the_default_device() -> None:
    torch.manual_seed(0)
    inputs, segments = [torch.randn(10, 1, 8).bfloat16() for _ in range(3)], Segments.of([4, 6], torch.device("cpu"))
    expected = attend_packed(*inputs, segments)
    with torch.device("meta"):
        assert torch.equal(attend_packed(*inputs, segments), expected)


def test_segments() -> None:
    segments = Segments.of([2, 3], torch.device("cpu"))
    assert segments.lengths == (2, 3)
    assert segments.places.tolist() == [0, 1, 3, 4, 5]
