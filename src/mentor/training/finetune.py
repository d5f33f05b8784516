"""The recipe ``finetune`` for a folder of pictures: what a person names is filled in, the rest is the document's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mentor.checkpoint.hub import HubOptions, locate
from mentor.checkpoint.layout import read_config
from mentor.config.load import from_dict, merge, to_dict
from mentor.config.model import MentorConfig
from mentor.config.presets import PRESETS
from mentor.config.recipes import load_recipe
from mentor.config.run import TrainConfig
from mentor.data.corpus import find_pack
from mentor.data.finetune_source import TASK
from mentor.training.feed import collate
from mentor.training.objective import MentorObjective
from mentor.training.protocol import to_device

RECIPE = "finetune"
_FILLED = (
    *("seed", "model", "init.bundle", "data.folder", "data.sources", "schedule.steps"),
    *("lora.rank", "lora.alpha", "lora.dora"),
)
"""What a person says by the other wishes."""
_LARGE = 10
"""A decoder with so many times the layers x width x tokens of the mini's is large."""


@dataclass(frozen=True)
class Wishes:
    """What a person says about a fine-tune; None: as the recipe has it."""

    images: Path
    subject: str
    model: str = "mini"
    captions: Path | None = None
    held_out: int = 0
    steps: int | None = None
    rank: int | None = None
    dora: bool = False
    seed: int = 0
    overrides: Sequence[str] = ()
    """Single values of the recipe, ``optim.lr=3e-4``; not those that the other wishes fill in."""


def finetune_recipe(wishes: Wishes) -> TrainConfig:
    """The filled-in recipe; its corpus source is left out where no corpus is found, and a large model is spared memory.

    Raises ValueError for an unknown model, one without a vision tower, numbers that cannot be, and overrides of what is
    filled in.
    """
    for override in wishes.overrides:
        key = override.partition("=")[0].strip()
        if any(key == own or key.startswith(f"{own}.") or own.startswith(f"{key}.") for own in _FILLED):
            raise ValueError(f"{key}: is said by a flag here, see mentor finetune --help; leave out {override}")
    model = read_config(locate(wishes.model, HubOptions(), only_config=True))
    if model.vision is None:
        raise ValueError(f"{wishes.model} reads no pictures; a fine-tune needs a model with a vision tower")
    overrides = [*_savings(model, wishes.overrides), *wishes.overrides]
    values: dict[str, Any] = to_dict(load_recipe(RECIPE, overrides))
    pictures, *others = values["data"]["sources"]
    if not corpus_found():
        others = [source for source in others if source["kind"] != "corpus"]
    options = {"subject": wishes.subject, "held_out": wishes.held_out}
    if wishes.captions is not None:
        options["captions"] = str(wishes.captions)
    filled: dict[str, Any] = {
        "seed": wishes.seed,
        "lora": {"dora": wishes.dora},
        "model": _choice(model),
        "init": {"bundle": wishes.model},
        "data": {"folder": str(wishes.images), "sources": [pictures | {"options": options}, *others]},
    }
    if wishes.steps is not None:
        filled["schedule"] = {"steps": wishes.steps}
    if wishes.rank is not None:
        # The document's ratio of alpha to rank says how much an adapter weighs, whatever its rank.
        alpha = values["lora"]["alpha"] * wishes.rank / values["lora"]["rank"]
        filled["lora"] |= {"rank": wishes.rank, "alpha": alpha}
    return from_dict(TrainConfig, merge(values, filled))


def _savings(model: MentorConfig, overrides: Sequence[str]) -> list[str]:
    """Overrides that a model of full size needs less memory with, to lie under a person's own ``overrides``.

    LlamaGen-XL would keep about 47 GB of activations for 16 samples (62.5 kB a token and layer).
    """
    shipped = PRESETS["mini-8192"].decoder
    sizes = [decoder.num_layers * decoder.width * decoder.num_tokens for decoder in (model.decoder, shipped)]
    if sizes[0] < _LARGE * sizes[1]:
        return []
    # 16 samples a step, as in the document, or as many as a person says.
    said = any(key in override for override in overrides for key in ("batch_size", "accumulate"))
    batches = [] if said else ["data.batch_size=4", "optim.accumulate=4"]
    return ["engine.activation_checkpointing=true", *batches]


def corpus_found() -> bool:
    """Whether the package's corpus is at hand."""
    try:
        find_pack()
    except ValueError:
        return False
    return True


def _choice(model: Any) -> dict[str, Any]:
    """A model's configuration as a recipe names it: the preset that it is, or all of its values."""
    preset = next((name for name, known in PRESETS.items() if known == model), None)
    return {"preset": preset} if preset else {"preset": "mini-64", "overrides": to_dict(model)}


@torch.no_grad()
def object_losses(objective: MentorObjective) -> dict[str, float]:
    """Held-out cross-entropy (nats a token) on what the prompts ask for: of the own subject, and of the corpus's tasks."""
    found: dict[str, list[Tensor]] = {}
    device, rows = objective.module.null_condition.device, objective.rows
    for start in range(0, len(rows), objective.batch_size):
        batch = to_device(collate(rows[start : start + objective.batch_size], objective.processor), device)
        losses = objective.token_losses(batch)
        for task, row, mask in zip(batch["tasks"], losses, batch["object_mask"], strict=True):
            found.setdefault("own subject" if task == TASK else "corpus", []).append(row[mask])
    return {name: float(torch.cat(parts).mean()) for name, parts in sorted(found.items(), reverse=True)}
