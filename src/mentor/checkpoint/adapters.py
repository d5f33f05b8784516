"""LoRA and DoRA adapters in files of their own, a few megabytes beside the model that they change, through ``peft``.

The files are peft's: ``adapter_config.json`` says which layers have one, ``adapter_model.safetensors`` holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mentor.checkpoint.hub import HubOptions, download, here, split_revision
from mentor.checkpoint.tensors import read_tensors, write_tensors

ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model"
ADAPTER_FOLDER = "adapter"
"""Where a fine-tune leaves its adapters, in the folder of the whole model."""


def locate_adapter(name: str, options: HubOptions) -> Path:
    """The folder with the adapters of ``name``: a folder here, one of a fine-tune that has them inside, or the hub's.

    Raises ``ValueError`` where there are none.
    """
    path = here(name)
    if path is not None and path.is_dir():
        return _with_adapters(path if (path / ADAPTER_CONFIG).is_file() else path / ADAPTER_FOLDER)
    if path is not None or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ValueError(f"adapter {name!r}: expected a folder, or a name of the hub (owner/name)")
    base, revision = split_revision(name)
    return _with_adapters(
        download(base, options, options.revision or revision, [ADAPTER_CONFIG, f"{ADAPTER}.safetensors"])
    )


def _with_adapters(folder: Path) -> Path:
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ValueError(
            f"{folder}: expected {ADAPTER_CONFIG} and {ADAPTER}.safetensors in it, as a fine-tune leaves them"
        )
    return folder


@dataclass(frozen=True)
class Adapter:
    """Adapters apart from the module that they were trained in."""

    config: Any
    """peft's: where they sit."""
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> Adapter:
        """Those of a module, before they are merged."""
        from peft import get_peft_model_state_dict

        (config,) = module.peft_config.values()  # type: ignore[operator]
        return cls(config, get_peft_model_state_dict(module))

    def save(self, folder: Path) -> None:
        """Writes both files, the numbers in float32."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder, ADAPTER, {name: tensor.float() for name, tensor in self.tensors.items()})
        self.config.save_pretrained(str(folder))


def merge_adapter(module: nn.Module, folder: Path, scale: float = 1.0) -> None:
    """Adds the adapters of ``folder``, times ``scale``, to the weights of ``module`` that they belong to, in place.

    Raises ``ValueError`` for a folder without adapters, adapters of another kind or model, and a scale that is no number.
    """
    if not torch.tensor(float(scale)).isfinite():
        raise ValueError(f"adapter's scale: expected a finite number, got {scale}")
    _with_adapters(folder)
    from peft import LoraConfig, PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer

    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / ADAPTER_CONFIG} is no configuration of peft ({error})") from error
    if not isinstance(config, LoraConfig):
        raise ValueError(f"{folder}: expected LoRA or DoRA, got {config.peft_type}")
    state = dict(read_tensors(folder, ADAPTER))
    _check(module, state, folder)
    inject_adapter_in_model(config, module)
    left_out = set_peft_model_state_dict(module, state)
    if left_out.unexpected_keys:
        raise ValueError(
            f"{folder}: adapters of another model; unknown here: {', '.join(left_out.unexpected_keys[:3])}"
        )
    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(scale)
    merged(module)


def merged(module: nn.Module) -> nn.Module:
    """Turns a module with adapters, in place, into the plain module that computes the same, and returns it."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            module.set_submodule(name, layer.get_base_layer())
    if hasattr(module, "peft_config"):
        del module.peft_config
    return module


def _check(module: nn.Module, state: dict[str, Tensor], folder: Path) -> None:
    """Before anything of the module changes: every adapter has a linear layer of its shape."""
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    for name, tensor in state.items():
        place, _, part = name.partition(".lora_")
        layer = layers.get(place)
        sizes = {"A": (tensor.shape[-1], "in_features"), "B": (tensor.shape[0], "out_features")}
        found = sizes.get(part.partition(".")[0])
        if layer is None or (found is not None and found[0] != getattr(layer, found[1])):
            raise ValueError(
                f"{folder}: adapters of another model; {name} {tuple(tensor.shape)} fits no layer of this one"
            )
