"""Greedy images, how clear each choice was, losses and gradients, of any model that a fixture describes.

Shape letters: B batch, S condition tokens, L image tokens, De encoder width, V codebook.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mentor.config.sampling import GenerationSettings
from mentor.generation.decode import generate_tokens
from mentor.generation.guidance import guided
from mentor.models.mentor import Mentor


def greedy(mentor: Mentor, states: Tensor, mask: Tensor, settings: dict[str, Any]) -> Tensor:
    """Image tokens int64 [B, L]."""
    likeliest = GenerationSettings(settings["cfg_scale"], temperature=0.0, cfg_interval=settings["cfg_interval"])
    return generate_tokens(mentor, states, mask, likeliest, generators=[torch.Generator()] * len(mask))


@torch.no_grad()
def smallest_margin(mentor: Mentor, states: Tensor, mask: Tensor, tokens: Tensor, settings: dict[str, Any]) -> float:
    """Least distance of the two largest guided logits on the way to ``tokens``, all positions computed at once."""
    both = [
        mentor.decoder(mentor.prefix(states, mask, torch.full((len(mask),), drop)), mask, tokens[:, :-1])
        for drop in (False, True)
    ]
    logits = guided(*both, settings["cfg_scale"])
    if settings["cfg_interval"] >= 0:
        start = settings["cfg_interval"] + 2
        logits[:, start:] = both[0][:, start:]
    largest = logits.topk(2).values
    return float((largest[..., 0] - largest[..., 1]).min())


def loss(logits: Tensor, targets: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of logits [B, L, V] over the images marked in ``valid`` (numbers [B]), or over all."""
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    weight = torch.ones_like(each) if valid is None else valid.view(-1, 1).expand_as(each)
    return (each * weight).sum() / weight.sum().clamp(min=1)


def gradients(mentor: Mentor, value: Tensor) -> dict[str, Tensor | None]:
    """Gradient of a scalar by every parameter; None where there is none."""
    names, parameters = zip(*mentor.named_parameters(), strict=True)
    needed = [parameter for parameter in parameters if parameter.requires_grad]
    found = dict(zip(map(id, needed), torch.autograd.grad(value, needed, allow_unused=True), strict=True))
    return {name: found.get(id(parameter)) for name, parameter in zip(names, parameters, strict=True)}
