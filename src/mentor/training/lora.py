"""LoRA and DoRA (Hu et al. 2021, Liu et al. 2024): small matrices beside frozen linear layers, through ``peft``."""

from __future__ import annotations

import torch
from torch import nn

from mentor.config.sections import LoraConfig
from mentor.training.weights import check_reached, towers, under

_MARK = "lora_"


def is_adapter(name: str) -> bool:
    """Whether a parameter belongs to an adapter."""
    return any(part.startswith(_MARK) for part in name.split("."))


def add_adapters(module: nn.Module, config: LoraConfig, seed: int) -> None:
    """Puts an adapter beside every linear layer under ``config.targets``, in place; the module computes what it did before.

    The vision tower gets none. Raises ValueError if a target lies in it or holds no linear layer.
    """
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    fixed = towers(module)
    linear = [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and not any(under(name, tower) for tower in fixed)
    ]
    for prefix in config.targets:
        check_reached(prefix, fixed, "lora.targets")
        if not any(under(name, prefix) for name in linear):
            raise ValueError(f"lora.targets: no linear layer lies under '{prefix}'")
    chosen = [name for name in linear if any(under(name, prefix) for prefix in config.targets)]
    settings = PeftConfig(
        r=config.rank, lora_alpha=config.alpha, use_dora=config.dora, lora_dropout=config.dropout, target_modules=chosen
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, module)
