"""Which parameters train, their float32 master copies, and their running average."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from mentor.models.vision import VisionTower
from mentor.training.sharding import filled, gathered, hollow, local


def freeze(
    module: nn.Module, trainable: Sequence[str], also: Callable[[str], bool] = lambda name: False
) -> dict[str, nn.Parameter]:
    """Turns gradients on for parameters under the name prefixes ``trainable`` or chosen by ``also``, and off for all others.

    Returns the trainable parameters by name. The empty prefix matches everything but the vision tower, which stays as it is
    under any. Raises ValueError for a prefix that matches no parameter, naming the module's parts, or lies in that tower.
    """
    fixed = towers(module)
    named = dict(module.named_parameters())
    for prefix in trainable:
        check_reached(prefix, fixed, "trainable")
        if not any(under(name, prefix) for name in named):
            parts = sorted({".".join(name.split(".")[:depth]) for name in named for depth in (1, 2)})
            raise ValueError(f"trainable: no parameter lies under '{prefix}'; the module has {', '.join(parts)}")
    for name, parameter in named.items():
        reached = not any(under(name, tower) for tower in fixed)
        parameter.requires_grad_(also(name) or (reached and any(under(name, prefix) for prefix in trainable)))
    chosen = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    if not chosen:
        raise ValueError("trainable: nothing is trained; name at least one part of the module")
    return chosen


def towers(module: nn.Module) -> list[str]:
    """Names of the module's vision towers, which run without gradients: nothing in them can learn."""
    return [name for name, part in module.named_modules() if isinstance(part, VisionTower)]


def check_reached(prefix: str, fixed: Sequence[str], key: str) -> None:
    """Raises ValueError, naming the recipe's ``key``, if a prefix lies in one of the towers ``fixed``."""
    for tower in fixed:
        if under(prefix, tower):
            raise ValueError(
                f"{key}: nothing under '{prefix}' can learn, {tower} is frozen in all stages; leave it out"
            )


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
    cannot hold updates smaller than 1/256 of itself. Frozen parameters keep their full copies too, in main memory: an export
    stores float32 as float16, which rounds to 11 bits, and bfloat16 in between would leave 8. Buffers stay as they are.

    With ``frozen_stay`` nothing changes a frozen parameter, so ``state_dict`` leaves them out: a run that goes on has them
    from where it started, and ``frozen_sum`` tells whether they are the same.

    With ``split`` the module is sharded (``sharding.shard`` does it after the copies are made): its parameters are the
    float32 masters themselves, and the whole module exists only inside ``averaged`` and after ``finish``.
    """

    def __init__(
        self,
        module: nn.Module,
        trainable: dict[str, nn.Parameter],
        *,
        half: bool,
        ema: float,
        split: Callable[[nn.Module], None] | None = None,
        frozen_stay: bool = False,
    ) -> None:
        self.module, self.half, self.decay, self.frozen_stay = module, half, ema, frozen_stay
        self.masters_apart = half and split is None
        named = dict(module.named_parameters())
        for name, parameter in named.items():
            # Released encoders come in bfloat16: what is trained needs float32, and what is not computes with it.
            if not half or name in trainable:
                parameter.data = parameter.data.float()
        self.full: dict[str, Tensor] = dict(named)
        if half:
            for name, parameter in named.items():
                if name not in trainable:
                    self.full[name] = parameter.detach().to("cpu", copy=True)
                elif self.masters_apart:
                    self.full[name] = parameter.detach().clone()
                if name not in trainable or self.masters_apart:
                    parameter.data = parameter.data.bfloat16()
        self.outline = None if split is None else hollow(module)
        if split is not None:
            split(module)
            self.full |= {name: p for name, p in module.named_parameters() if name in trainable}
        self.parameters = {name: p for name, p in module.named_parameters() if name in trainable}
        self.masters = {name: self.full[name] for name in trainable}
        self.average = {name: master.detach().clone() for name, master in self.masters.items()} if ema else {}

    def collect_gradients(self) -> None:
        """Adds the module's gradients to those of the masters, in float32."""
        if self.masters_apart:
            for name, parameter in self.parameters.items():
                if parameter.grad is not None:
                    master = self.masters[name]
                    if master.grad is None:
                        master.grad = parameter.grad.float()
                    else:
                        master.grad += parameter.grad
                parameter.grad = None

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Copies the masters into the module and moves the average; early steps use a shorter memory."""
        if self.masters_apart:
            self._fill(self.masters)
        if self.average:
            decay = min(self.decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(
                local(self.average.values()), local(m.detach() for m in self.masters.values()), 1 - decay
            )

    @contextmanager
    def averaged(self, *, keep: bool = True) -> Iterator[nn.Module]:
        """Within the block the given module holds the averaged weights (the current ones without averaging), in eval mode.

        Every process must enter it. A sharded module's weights are gathered where ``keep`` says so.
        """
        with torch.no_grad():
            if self.outline is not None:
                yield self._whole(keep, torch.bfloat16 if self.half else torch.float32)
                return
            was_training = self.module.training
            self.module.eval()
            kept = {name: p.detach().clone() for name, p in self.parameters.items()} if self.average else {}
            try:
                if self.average:
                    self._fill(self.average)
                yield self.module
            finally:
                if self.average:
                    self._fill(kept)
                self.module.train(was_training)

    @torch.no_grad()
    def finish(self, *, keep: bool = True) -> nn.Module:
        """The module with float32 weights, averaged if averaging is on, for export; training ends with it."""
        if self.outline is not None:
            return self._whole(keep, torch.float32)
        for name, parameter in self.module.named_parameters():
            parameter.data = self.average.get(name, self.full[name]).detach().to(parameter.device, copy=True)
        return self.module.eval()

    def state_dict(self) -> dict[str, Tensor]:
        """The live tensors of the module, by name: float32 parameters (but frozen ones that stay), averages and buffers."""
        kept = self.masters if self.frozen_stay else self.full
        state = {f"weights.{name}": tensor.detach() for name, tensor in kept.items()}
        state |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        state |= {f"buffers.{name}": buffer for name, buffer in self.module.named_buffers()}
        return state

    @cached_property
    def frozen_sum(self) -> float:
        """A number that other frozen weights would hardly have; 0 where ``state_dict`` holds them."""
        frozen = [tensor for name, tensor in self.full.items() if name not in self.masters and self.frozen_stay]
        return sum(float(tensor.detach().double().abs().sum()) for tensor in frozen)

    @torch.no_grad()
    def loaded(self) -> None:
        """To be called when ``state_dict``'s tensors were given other values."""
        if self.half:
            for name, parameter in self.module.named_parameters():
                if parameter.dtype == torch.bfloat16:
                    parameter.copy_(self.full[name])

    def _fill(self, source: dict[str, Tensor]) -> None:
        torch._foreach_copy_(list(self.parameters.values()), list(source.values()))

    def _whole(self, keep: bool, dtype: torch.dtype) -> nn.Module:
        assert self.outline is not None
        weights = gathered(self.full | self.average, keep=keep, dtype=dtype)
        if not keep:
            return self.outline
        device = next(self.module.parameters()).device
        on_device = {name: tensor.to(device) for name, tensor in weights.items()}
        return filled(self.outline, on_device, dict(self.module.named_buffers()), device).eval()
