"""Which parameters train, their float32 master copies, and their running average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def freeze(module: nn.Module, trainable: Sequence[str]) -> dict[str, nn.Parameter]:
    """Turns gradients on for parameters under the name prefixes ``trainable`` and off for all others.

    Returns the trainable parameters by name. The empty prefix matches everything. Raises ValueError for a prefix that
    matches no parameter, naming the module's parts.
    """
    named = dict(module.named_parameters())
    for prefix in trainable:
        if not any(under(name, prefix) for name in named):
            parts = sorted({".".join(name.split(".")[:depth]) for name in named for depth in (1, 2)})
            raise ValueError(f"trainable: no parameter lies under '{prefix}'; the module has {', '.join(parts)}")
    for name, parameter in named.items():
        parameter.requires_grad_(any(under(name, prefix) for prefix in trainable))
    chosen = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    if not chosen:
        raise ValueError("trainable: nothing is trained; name at least one part of the module")
    return chosen


def count_parts(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Parameters of each part (first name component) of a module: part -> (trained, frozen)."""
    counts: dict[str, tuple[int, int]] = {}
    for name, parameter in module.named_parameters():
        part = name.split(".")[0]
        trained, frozen = counts.get(part, (0, 0))
        size = parameter.numel()
        counts[part] = (trained + size, frozen) if parameter.requires_grad else (trained, frozen + size)
    return counts


def under(name: str, prefix: str) -> bool:
    """Whether a dotted name lies under a prefix; the empty prefix holds everything."""
    return prefix == "" or name == prefix or name.startswith(prefix + ".")


class Weights:
    """The weights of a module in float32, whatever the forward pass computes in.

    With ``half`` the module's parameters become bfloat16 and the optimiser works on float32 masters: a bfloat16 weight
    cannot hold updates smaller than 1/256 of itself. Frozen parameters have masters too, because what is exported must
    be what was loaded. Buffers stay as they are.
    """

    def __init__(self, module: nn.Module, trainable: dict[str, nn.Parameter], *, half: bool, ema: float) -> None:
        self.module, self.half, self.decay = module, half, ema
        named = dict(module.named_parameters())
        self.full: dict[str, Tensor] = dict(named)
        if half:
            self.full = {name: parameter.detach().clone() for name, parameter in named.items()}
            for parameter in named.values():
                parameter.data = parameter.data.bfloat16()
        self.parameters = trainable
        self.masters = {name: self.full[name] for name in trainable}
        self.average = {name: master.detach().clone() for name, master in self.masters.items()} if ema else {}

    def collect_gradients(self) -> None:
        """Hands the module's gradients to the masters, in float32."""
        if self.half:
            for name, parameter in self.parameters.items():
                self.masters[name].grad = None if parameter.grad is None else parameter.grad.float()
                parameter.grad = None

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Copies the masters into the module and moves the average; early steps use a shorter memory."""
        if self.half:
            self._fill(self.masters)
        if self.average:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.average.values()), [m.detach() for m in self.masters.values()], 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the module holds the averaged weights (the current ones without averaging), in eval mode."""
        was_training = self.module.training
        self.module.eval()
        with torch.no_grad():
            kept = {name: p.detach().clone() for name, p in self.parameters.items()} if self.average else {}
            try:
                if self.average:
                    self._fill(self.average)
                yield
            finally:
                if self.average:
                    self._fill(kept)
                self.module.train(was_training)

    @torch.no_grad()
    def finish(self) -> None:
        """Leaves the float32 weights in the module, averaged if averaging is on, for export."""
        for name, parameter in self.module.named_parameters():
            parameter.data = self.average.get(name, self.full[name]).detach().clone()
        self.module.eval()

    def state_dict(self) -> dict[str, Tensor]:
        """The live tensors of the whole module, by name: float32 parameters, averages and buffers."""
        state = {f"weights.{name}": tensor.detach() for name, tensor in self.full.items()}
        state |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        state |= {f"buffers.{name}": buffer for name, buffer in self.module.named_buffers()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what ``state_dict`` gave. Raises ValueError if names or shapes differ."""
        own = self.state_dict()
        if own.keys() != state.keys():
            names = ", ".join(sorted(own.keys() ^ state.keys())[:5])
            raise ValueError(f"the checkpoint does not fit the model: these are in one of the two only: {names}")
        for name, target in own.items():
            if target.shape != state[name].shape:
                shapes = f"{tuple(state[name].shape)}, not {tuple(target.shape)}"
                raise ValueError(f"the checkpoint does not fit the model: {name} has shape {shapes}")
            target.copy_(state[name])
        if self.half:
            for name, parameter in self.module.named_parameters():
                parameter.copy_(self.full[name])

    def _fill(self, source: dict[str, Tensor]) -> None:
        torch._foreach_copy_(list(self.parameters.values()), list(source.values()))
