"""Two-dimensional rotary position embedding over the image grid (LlamaGen; RoPE: Su et al. 2021).

Shape letters: B batch, S condition tokens, L image tokens, T = S + L positions, H heads, K head size.

A head's K numbers are K/2 interleaved pairs. The first half of the pairs turns with the token's row, the second half
with its column. A rotation is stored as the pair (cosine, sine). Condition tokens have no place in the grid: see
``prefix_rotation``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def grid_rotation(grid: int, head_width: int, base: float = 10000.0) -> Tensor:
    """What turns image token ``n`` to row ``n // grid``, column ``n % grid``: float32 [L, K/2, 2] of (cosine, sine).

    Always on the CPU, even where the default device is "meta": the table follows from the configuration alone.
    Raises ValueError unless ``head_width`` is divisible by 4 (row and column share the pairs evenly).
    """
    if head_width % 4:
        raise ValueError(
            f"the head width must be divisible by 4 to share its pairs between row and column, got {head_width}; "
            "change the decoder's width or num_heads"
        )
    half = head_width // 2
    frequencies = 1.0 / base ** (torch.arange(0, half, 2, dtype=torch.float32, device="cpu") / half)
    angles = torch.outer(torch.arange(grid, dtype=torch.float32, device="cpu"), frequencies)
    rows = angles[:, None].expand(grid, grid, -1)
    columns = angles[None, :].expand(grid, grid, -1)
    angles = torch.cat((rows, columns), dim=-1).flatten(0, 1)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def prefix_rotation(policy: Literal["identity", "zero"], length: int, head_width: int, device: torch.device) -> Tensor:
    """What the condition's q and k are turned by: float32 [S, K/2, 2].

    ``identity`` leaves them unrotated (MENTOR's correction). ``zero`` erases them, as stock LlamaGen does: every
    condition token then gets the attention logit 0.
    """
    turn = torch.zeros(2, dtype=torch.float32, device=device)
    if policy == "identity":
        turn[0] = 1.0  # on the device: copying a tensor there would wait for it
    return turn.expand(length, head_width // 2, 2)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turns every pair of ``x`` [..., T, heads, K] by ``rotation`` [T, K/2, 2]; computed and returned in float32."""
    pairs = x.float().unflatten(-1, (-1, 2))
    rotation = rotation[:, None]
    if torch.compiler.is_compiling():  # the compiler cannot generate code for complex numbers
        (a, b), (cosine, sine) = pairs.unbind(-1), rotation.unbind(-1)
        return torch.stack((a * cosine - b * sine, a * sine + b * cosine), dim=-1).flatten(-2)
    product = torch.view_as_complex(pairs) * torch.view_as_complex(rotation)
    return torch.view_as_real(product).flatten(-2)
