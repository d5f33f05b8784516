"""The repeated blocks of a model: what activation checkpointing, sharding and compilation work on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mentor.nn.attention import CausalSelfAttention
from mentor.nn.packed import attend_packed


def trained_blocks(module: nn.Module) -> list[nn.Module]:
    """The outermost members of module lists that hold a trained weight: the layers of the towers and of the decoder."""
    return [block for block in _outermost(module) if any(p.requires_grad for p in block.parameters())]


def recomputed_blocks(module: nn.Module) -> list[nn.Module]:
    """The outermost members of module lists through which gradients may pass, frozen ones too: not the vision tower."""
    towers = [tower for name, tower in module.named_modules() if name.rpartition(".")[2] == "vision"]
    without = {id(part) for tower in towers for part in tower.modules()}
    return [block for block in _outermost(module) if id(block) not in without]


def _outermost(module: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    inside: set[int] = set()
    for part in module.modules():
        if isinstance(part, nn.ModuleList):
            blocks = [block for block in part if id(block) not in inside]
            inside |= {id(inner) for block in blocks for inner in block.modules()}
            found += blocks
    return found


def compile_blocks(blocks: Sequence[nn.Module]) -> None:
    """Makes blocks compile themselves at their first training step (``torch.compile``), once for all that are alike.

    What happens around a block, such as gathering its sharded weights, stays outside. So do evaluation and generation, whose
    shapes change with every token. Raises ValueError if there is no block.
    """
    if not blocks:
        raise ValueError(
            "compile: no trained part has layers that repeat, and only those are compiled; set compile=false"
        )
    # On a GPU one fused call as it is; its lengths, other ones in every batch, would be compiled in.
    left_out = torch.compiler.disable(attend_packed)
    for block in blocks:
        for part in block.modules():
            if isinstance(part, CausalSelfAttention):
                part.attend_packed = left_out
        block.forward = _while_training(block.forward, torch.compile(block.forward, dynamic=True))


def checkpoint_activations(blocks: Sequence[nn.Module]) -> None:
    """Makes blocks forget what they computed inside and compute it again in the backward pass: less memory, a third more
    work, the same gradients.
    """
    for block in blocks:
        block.forward = _while_training(block.forward, partial(checkpoint, block.forward, use_reentrant=False))


def _while_training(forward: Any, training: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        return (training if torch.is_grad_enabled() else forward)(*args, **kwargs)

    return run
