"""Weights go into a module only if every name and shape is the module's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mentor.checkpoint.foreign import recognise


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copies ``state`` into ``module`` one by one, in the module's number formats; ValueError as in ``check_names``."""
    expected = module.state_dict()
    check_names(expected, state, source)
    with torch.no_grad():
        for name, target in expected.items():
            target.copy_(state[name])


def check_names(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """ValueError naming the tensors of ``state`` that are missing, unknown (with the nearest known) or of another shape."""
    shapes = getattr(state, "shapes", None) or {name: tuple(tensor.shape) for name, tensor in state.items()}
    unknown = [name for name in shapes if name not in expected]
    problems = [f"{name} is missing" for name in expected if name not in shapes]
    problems += [f"{name} is not part of the configured model" for name in unknown]
    problems += [
        f"{name} has shape {list(shapes[name])}, the configuration asks for {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in shapes and shapes[name] != tuple(tensor.shape)
    ]
    if not problems:
        return
    what = recognise(shapes)
    if what is not None:
        raise ValueError(f"{source} holds {what}; expected the weights of the configured model")
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    raise ValueError(
        f"{source} does not fit the configuration: {'; '.join(problems[:3])}{more}{_nearest(unknown, expected)}"
    )


def _nearest(unknown: list[str], expected: Mapping[str, Tensor]) -> str:
    for name in unknown[:3]:
        close = difflib.get_close_matches(name, expected, n=1, cutoff=0.8)
        if close:
            return f"; the nearest known name to {name} is {close[0]}"
    return ""
