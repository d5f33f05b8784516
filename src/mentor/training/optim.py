"""Sorts parameters into optimiser groups and builds AdamW, or Muon for the hidden matrices and AdamW for the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mentor.config.sections import OptimConfig
from mentor.training.precision import computes_bf16
from mentor.training.sharding import local, part_of, whole
from mentor.training.weights import under

LONG = 1.5
"""Length of a matrix by its width from which on the products of square matrices are fewer than those of long ones."""


@dataclass(frozen=True)
class Group:
    """Parameters that are treated alike: ``matrix`` may take Muon, ``decay`` has weight decay, ``plain`` has none."""

    kind: Literal["matrix", "decay", "plain"]
    names: tuple[str, ...]
    lr_scale: float = 1.0


def default_groups(
    module: nn.Module,
    trainable: dict[str, nn.Parameter],
    *,
    not_hidden: tuple[str, ...] = (),
    convolutions: bool = False,
) -> list[Group]:
    """Hidden matrices, other weights, and vectors (norms, biases), the last without weight decay.

    Embedding tables and parameters under the prefixes ``not_hidden`` (first and last layers) are no hidden matrices: Muon
    orthogonalises updates, which suits maps between hidden states only. With ``convolutions`` the kernels [out, in, h, w]
    of convolutions are matrices of out rows.
    """
    tables = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    kinds: dict[str, list[str]] = {"matrix": [], "decay": [], "plain": []}
    for name, parameter in trainable.items():
        outside = name in tables or name.startswith(not_hidden)
        is_weight = name.rpartition(".")[2] == "weight"
        if parameter.ndim < 2:
            kinds["plain"].append(name)
        elif is_weight and not outside and (parameter.ndim == 2 or (convolutions and parameter.ndim == 4)):
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
        self.config, self.parameters = config, parameters
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

    def state_dict(self) -> dict[str, Tensor]:
        """The live tensors of the optimisers' memory: ``AdamW.<parameter>.exp_avg`` and the like."""
        return {
            f"{type(part).__name__}.{name}.{slot}": value
            for part in self.parts
            for name, parameter in self.parameters.items()
            for slot, value in part.state.get(parameter, {}).items()
        }

    def blank(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A tensor to read one of ``state_dict``'s into, sharded as its parameter is.

        Raises ValueError if this optimiser has no such tensor.
        """
        kind, _, rest = name.partition(".")
        parameter = self.parameters.get(rest.rpartition(".")[0])
        if parameter is None or kind not in {type(part).__name__ for part in self.parts}:
            kinds = ", ".join(type(part).__name__ for part in self.parts)
            raise ValueError(f"the checkpoint's optimiser remembers {name}, which the recipe's ({kinds}) does not")
        if shape == parameter.shape:
            return torch.zeros_like(parameter, dtype=dtype, requires_grad=False)
        return torch.zeros(shape, dtype=dtype, device=parameter.device)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what ``state_dict`` gave, in tensors made by ``blank``."""
        parts = {type(part).__name__: part for part in self.parts}
        for part in self.parts:
            part.state.clear()
        for key, value in state.items():
            kind, _, rest = key.partition(".")
            name, _, slot = rest.rpartition(".")
            parts[kind].state[self.parameters[name]][slot] = value


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024): the momentum of each matrix, orthogonalised, is its update.

    The same update as ``torch.optim.Muon`` with ``adjust_lr_fn="original"``, but matrices of one shape are
    orthogonalised together in one batched product, which is faster for a transformer of equal blocks, sharded ones may
    be given, and so may kernels of convolutions, [out, in, h, w] taken as out rows.
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
                        self.state[parameter]["momentum"] = torch.zeros_like(parameter, requires_grad=False)
                momenta = local(self.state[parameter]["momentum"] for parameter in parameters)
                gradients = local(p.grad for p in parameters if p.grad is not None)
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                directions = torch._foreach_lerp(gradients, momenta, group["momentum"])
                # Sharded matrices are gathered: orthogonal is a property of the whole. Every process computes all of them.
                matrices = [whole(d, p).flatten(1) for d, p in zip(directions, parameters, strict=True)]
                updates = orthogonalise(torch.stack(matrices)).to(parameters[0].dtype).unflatten(-1, shape[1:])
                parts = [part_of(u, p) for u, p in zip(updates, parameters, strict=True)]
                targets = local(p.detach() for p in parameters)
                torch._foreach_mul_(targets, 1 - group["lr"] * group["weight_decay"])
                scale = group["lr"] * math.sqrt(max(1.0, shape[0] / shape[1:].numel()))
                torch._foreach_add_(targets, parts, alpha=-scale)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration: [N, rows, columns] -> the same with all singular values near 1.

    In bfloat16, as the authors do, where the device computes in it, else in float32. There the iteration runs on the small
    Gram matrices alone where rows are long, the same sums at half the work; bfloat16 would lose the small singular values
    in them.
    """
    a, b, c = 3.4445, -4.7750, 2.0315  # Jordan et al.: steepest slope at 0 that still converges to about [0.7, 1.2]
    x = matrices.bfloat16() if computes_bf16(matrices.device.type) else matrices.float()
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    if x.dtype == torch.float32 and x.size(-1) >= LONG * x.size(-2):
        # x_k+1 = p_k x_k, p_k a polynomial in the Gram matrix g_k: the last x is (p_n ... p_1) x, and g_k+1 = p_k g_k p_k.
        gram, product = x @ x.mT, None
        for step in range(1, steps + 1):
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
            product = polynomial if product is None else polynomial @ product
            if step < steps:
                gram = polynomial @ gram @ polynomial
        x = x if product is None else product @ x
    else:
        for _ in range(steps):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
