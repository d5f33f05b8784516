"""The head's cross-entropy in parts: the numbers of PyTorch's own, with whatever head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mentor.nn import cross_entropy
from mentor.nn.cross_entropy import linear_cross_entropy


def _case(rows: int, width: int, classes: int, seed: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=dtype)
    weight = torch.randn(classes, width, generator=generator, dtype=dtype)
    targets = torch.randint(classes, (rows,), generator=generator)
    return x, weight, targets, torch.rand(rows, generator=generator)


def _head(weight: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
    head.weight.data.copy_(weight)
    return head


def _gradients(losses: Tensor, shares: Tensor, *of: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((losses * shares).sum(), of)


@given(
    rows=st.integers(1, 40),
    width=st.integers(1, 9),
    classes=st.integers(2, 50),
    each=st.integers(1, 300),
    seed=st.integers(0, 99),
)
def test_losses_and_gradients_are_those_of_all_logits(
    rows: int, width: int, classes: int, each: int, seed: int
) -> None:
    x, weight, targets, shares = _case(rows, width, classes, seed, torch.float32)
    x.requires_grad_()
    head = _head(weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "_ELEMENTS", each)
        losses = linear_cross_entropy(x, head, targets)
        found = _gradients(losses, shares, x, head.weight)
    exact = x.detach().double().requires_grad_(), weight.double().requires_grad_()
    expected = F.cross_entropy(exact[0] @ exact[1].t(), targets, reduction="none")
    assert losses.dtype is torch.float32
    torch.testing.assert_close(losses, expected.float(), atol=1e-4, rtol=1e-5)
    for ours, theirs in zip(found, _gradients(expected, shares.double(), *exact), strict=True):
        torch.testing.assert_close(ours, theirs.float(), atol=1e-4, rtol=1e-4)


def test_bfloat16_rounds_as_whole_logits_do() -> None:
    x, weight, targets, shares = _case(600, 64, 512, 1, torch.bfloat16)
    x, head = (x / 8).requires_grad_(), _head(weight)
    whole = F.cross_entropy(head(x).float(), targets, reduction="none")
    parts = linear_cross_entropy(x, head, targets)
    assert torch.equal(parts, whole)
    pairs = zip(_gradients(parts, shares, x, head.weight), _gradients(whole, shares, x, head.weight), strict=True)
    for ours, theirs in pairs:
        assert ours.dtype is torch.bfloat16
        assert (ours - theirs).float().norm() < 0.01 * theirs.float().norm()


class _Scaled(nn.Linear):
    """A head that is more than its weight, as adapters are: its own ``forward`` must be asked."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_other_heads_are_asked_for_their_logits() -> None:
    x, weight, targets, _ = _case(5, 4, 7, 2, torch.float32)
    for head in (_Scaled(4, 7, bias=False), nn.Linear(4, 7), nn.Sequential(nn.Linear(4, 7))):
        torch.testing.assert_close(
            linear_cross_entropy(x, head, targets), F.cross_entropy(head(x), targets, reduction="none")
        )
    plain = _head(weight)
    with torch.autocast("cpu", torch.bfloat16):
        found = linear_cross_entropy(x, plain, targets)
        assert torch.equal(found, F.cross_entropy(plain(x).float(), targets, reduction="none"))


def test_no_whole_logits_are_made() -> None:
    x, weight, targets, _ = _case(4096, 2, 4096, 3, torch.float32)
    seen: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            made = func(*args, **(kwargs or {}))
            seen.extend(
                each.numel() for each in (made if isinstance(made, tuple) else (made,)) if isinstance(each, Tensor)
            )
            return made

    x.requires_grad_()
    with Watch():
        linear_cross_entropy(x, _head(weight), targets).sum().backward()
    assert max(seen) <= cross_entropy._ELEMENTS < x.shape[0] * len(weight)
