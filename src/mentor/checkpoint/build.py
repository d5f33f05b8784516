"""Models whose weights will be read from files: memory for the weights and no time spent on random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mentor.config.model import MentorConfig
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor

_FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_}
_INITIALISERS = {"torch.nn.init", "transformers.initialization"}
"""Modules of functions that fill a tensor; those of torch that do not tell a mode of their call end in one of the fills."""


class Uninitialized(TorchFunctionMode):
    """``with Uninitialized(): Mentor(config)`` allocates the weights and writes nothing to them.

    Memory that was never written to takes no room, so it does not matter that a weight is made in float32 and becomes
    bfloat16. What modules compute (position ids, tables) is computed as always.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) in _INITIALISERS:
            return args[0] if args else kwargs["tensor"]
        if args and isinstance(args[0], nn.Parameter):
            if func in _FILLS:
                return args[0]
            if func is Tensor.to:  # a cast, or another order in memory
                return torch.empty_like(func(args[0].to("meta"), *args[1:], **kwargs), device=args[0].device)
        return func(*args, **kwargs)


def allocate(config: MentorConfig, dtype: torch.dtype | None = None) -> tuple[Mentor, ImageTokenizer]:
    """Both models in evaluation mode, their weights not written yet; torch's random state stays as it is.

    ``dtype`` None: the multimodal encoder in ``config.encoder_dtype``, all else in float32, whatever torch's default is.
    """
    with torch.random.fork_rng(devices=[]), Uninitialized(), _float32():
        mentor, image_tokenizer = Mentor(config), ImageTokenizer(config.image_tokenizer)
        if dtype is not None:
            mentor.cast(dtype)
            image_tokenizer.to(dtype)
    return mentor.eval(), image_tokenizer.eval()


@contextmanager
def _float32() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
