"""Sorts parameters into optimiser groups and builds AdamW, or Muon for the hidden matrices and AdamW for the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mentor.config.run import OptimConfig
from mentor.training.weights import under


@dataclass(frozen=True)
class Group:
    """Parameters that are treated alike: ``matrix`` may take Muon, ``decay`` has weight decay, ``plain`` has none."""

    kind: Literal["matrix", "decay", "plain"]
    names: tuple[str, ...]
    lr_scale: float = 1.0


def default_groups(
    module: nn.Module, trainable: dict[str, nn.Parameter], *, not_hidden: tuple[str, ...] = ()
) -> list[Group]:
    """Hidden 2-D matrices, other weights, and vectors (norms, biases), the last without weight decay.

    Embedding tables and parameters under the prefixes ``not_hidden`` (output heads) are no hidden matrices: Muon
    orthogonalises updates, which suits maps between hidden states only.
    """
    tables = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    kinds: dict[str, list[str]] = {"matrix": [], "decay": [], "plain": []}
    for name, parameter in trainable.items():
        outside = name in tables or name.startswith(not_hidden)
        is_weight = name.rpartition(".")[2] == "weight"
        if parameter.ndim < 2:
            kinds["plain"].append(name)
        elif parameter.ndim == 2 and is_weight and not outside:
            kinds["matrix"].append(name)
        else:
            kinds["decay"].append(name)
    return [Group(kind, tuple(names)) for kind, names in kinds.items() if names]  # type: ignore[arg-type]


def scaled(groups: list[Group], scales: dict[str, float]) -> list[Group]:
    """Splits groups so that parameters under a prefix of ``scales`` get its factor (the longest matching prefix counts).

    Raises ValueError for a prefix that matches no trainable parameter.
    """
    names = [name for group in groups for name in group.names]
    for prefix in scales:
        if not any(under(name, prefix) for name in names):
            raise ValueError(f"optim.lr_scales: no trained parameter lies under '{prefix}'")
    split: dict[tuple[str, float], list[str]] = {}
    for group in groups:
        for name in group.names:
            matching = [prefix for prefix in scales if under(name, prefix)]
            factor = scales[max(matching, key=len)] if matching else 1.0
            split.setdefault((group.kind, group.lr_scale * factor), []).append(name)
    return [Group(kind, tuple(part), factor) for (kind, factor), part in split.items()]  # type: ignore[arg-type]


class Optimizer:
    """One or two torch optimisers as one ``step``; the learning rate is set from outside, as a share of its peak."""

    def __init__(self, config: OptimConfig, groups: list[Group], parameters: dict[str, Tensor]) -> None:
        self.config = config
        fused = all(parameter.is_floating_point() for parameter in parameters.values())
        muon, adamw = [], []
        for group in scaled(groups, config.lr_scales):
            entry: dict[str, Any] = {
                "params": [parameters[name] for name in group.names],
                "weight_decay": 0.0 if group.kind == "plain" else config.weight_decay,
            }
            if config.kind == "muon" and group.kind == "matrix":
                muon.append(entry | {"lr": config.muon_lr * group.lr_scale})
            else:
                adamw.append(entry | {"lr": config.lr * group.lr_scale})
        self.parts: list[torch.optim.Optimizer] = []
        if adamw:
            self.parts.append(torch.optim.AdamW(adamw, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused))
        if muon:
            self.parts.append(Muon(muon, momentum=config.muon_momentum))
        for part in self.parts:
            for entry in part.param_groups:
                entry["peak"] = entry["lr"]

    def step(self, share: float) -> None:
        """One update with every learning rate at ``share`` (0 to 1) of its peak."""
        for part in self.parts:
            for entry in part.param_groups:
                entry["lr"] = entry["peak"] * share
            part.step()

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {type(part).__name__: part.state_dict() for part in self.parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what ``state_dict`` gave. Raises ValueError if it came from another kind of optimiser."""
        names = [type(part).__name__ for part in self.parts]
        if sorted(state) != sorted(names):
            raise ValueError(f"the checkpoint's optimiser is {sorted(state)}, the recipe's {sorted(names)}")
        for part in self.parts:
            part.load_state_dict(state[type(part).__name__])


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): the momentum of each matrix, orthogonalised, is its update.

    The same update as ``torch.optim.Muon`` with ``adjust_lr_fn="original"``, but matrices of one shape are
    orthogonalised together in one batched product, which is faster for a transformer of equal blocks.
    """

    def __init__(self, params: Any, *, lr: float = 0.014, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                for parameter in parameters:
                    if "momentum" not in self.state[parameter]:
                        self.state[parameter]["momentum"] = torch.zeros_like(parameter)
                momenta = [self.state[parameter]["momentum"] for parameter in parameters]
                gradients = [p.grad for p in parameters if p.grad is not None]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                updates = orthogonalise(torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"])))
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                scale = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1]))
                torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype)), alpha=-scale)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration in bfloat16: [N, rows, columns] -> the same with all singular values near 1."""
    a, b, c = 3.4445, -4.7750, 2.0315  # Jordan et al.: steepest slope at 0 that still converges to about [0.7, 1.2]
    x = matrices.bfloat16()
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
