"""FSDP2: every process holds a part of each trained weight, of its gradient and of the optimiser's state.

Frozen weights are not sharded: each process holds them whole, in the number type they compute in.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate

from mentor.models.language import LanguageEncoder

if TYPE_CHECKING:
    from mentor.training.distributed import Processes


def hollow(module: nn.Module) -> nn.Module:
    """A copy of a module whose parameters take no memory; ``filled`` makes it usable."""
    memo: dict[int, object] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in module.parameters()
    }
    return copy.deepcopy(module, memo)


def filled(
    empty: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], device: torch.device
) -> nn.Module:
    """A hollow module with weights, on their device: tied ones appear under one of their names in ``parameters``."""
    module = copy.deepcopy(empty)
    first = {id(p): name for name, p in module.named_parameters()}
    every = {name: parameters[first[id(p)]] for name, p in module.named_parameters(remove_duplicate=False)}
    module.load_state_dict(
        every | {name: buffers[name] for name in module.state_dict() if name in buffers}, assign=True
    )
    return module.to(device)  # tables that are no weights (positions) are still where the copy was made


def shard(module: nn.Module, blocks: Sequence[nn.Module], processes: Processes, *, half: bool) -> None:
    """Splits the trained weights of a module, in place. With ``half`` they compute in bfloat16 and stay float32.

    Weights are gathered block by block when they are needed; what lies in no block is one unit. The gradient is the mean
    over processes, in float32.
    """
    mesh = init_device_mesh(processes.device.type, (processes.count,))
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if half else None, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for part in module.modules():
        if isinstance(part, LanguageEncoder):
            # How many calls it makes would follow from this process's prompts, and the others would wait for weights.
            part.in_one_call = True
    frozen = {parameter for parameter in module.parameters() if not parameter.requires_grad}
    for part in (*blocks, module):
        fully_shard(part, mesh=mesh, mp_policy=policy, ignored_params=frozen)
    # A wrapper that quietly keeps whole weights would train all the same, at many times the memory.
    whole = [name for name, p in module.named_parameters() if p.requires_grad and not isinstance(p, DTensor)]
    assert not whole, f"FSDP did not shard {whole[:5]}"


def gathered(tensors: Mapping[str, Tensor], *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Whole tensors on each process that wants to ``keep`` them; every process must call it."""
    whole = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor().detach() if isinstance(tensor, DTensor) else tensor.detach()
        if keep:
            whole[name] = full if dtype is None else full.to(dtype)
    return whole


def local(tensors: Iterable[Tensor]) -> list[Tensor]:
    """This process's parts of sharded tensors; whole ones stay. They share memory with what they are parts of."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def whole(part: Tensor, like: Tensor) -> Tensor:
    """The whole tensor of which this process computed ``part``, sharded as ``like`` is."""
    if not isinstance(like, DTensor):
        return part
    placed = DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    return placed.full_tensor()


def part_of(full: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor that every process has, sharded as ``like`` is."""
    if not isinstance(like, DTensor):
        return full
    copies = DTensor.from_local(full, like.device_mesh, [Replicate()], run_check=False)
    return copies.redistribute(placements=like.placements).to_local()
