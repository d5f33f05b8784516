"""Whole models as folders: configuration, weights and text tokenizer, all that is needed to generate, in one place.

config.json  model.safetensors  image_tokenizer.safetensors  tokenizer.json  README.md
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn

from mentor.checkpoint.card import model_card
from mentor.checkpoint.tensors import load_strict, read_tensors, write_tensors
from mentor.config.load import from_dict, to_dict
from mentor.config.model import MentorConfig
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor

CONFIG, MODEL, IMAGE_TOKENIZER, TEXT_TOKENIZER, CARD = (
    "config.json",
    "model.safetensors",
    "image_tokenizer.safetensors",
    "tokenizer.json",
    "README.md",
)
ASSETS = Path(str(files("mentor"))) / "assets"


@dataclass
class Bundle:
    """A model in memory, in evaluation mode: what a bundle folder holds."""

    config: MentorConfig
    mentor: Mentor
    image_tokenizer: ImageTokenizer
    text_tokenizer: Tokenizer


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(path.parent.name for path in ASSETS.glob(f"*/{MODEL}"))


def new_bundle(config: MentorConfig, *, seed: int = 0, towers: Path = ASSETS / "towers") -> Bundle:
    """An untrained model: the pretrained towers of ``towers``, everything else random from ``seed``.

    ValueError when the towers are not there or were built for another configuration.
    """
    if not (towers / TEXT_TOKENIZER).is_file():
        raise ValueError(f"no pretrained towers in {towers}; build them with: python -m mentor.construction.towers")
    bundle = _random_bundle(config, _read_text_tokenizer(towers / TEXT_TOKENIZER), seed)
    encoder = bundle.mentor.encoder
    for name, module in {"vision": encoder.vision, "language": encoder.language}.items():
        path = towers / f"{name}.safetensors"
        load_strict(module, read_tensors(path), str(path))
    return bundle


def save_bundle(
    directory: str | Path,
    mentor: Mentor,
    image_tokenizer: ImageTokenizer,
    text_tokenizer: Tokenizer,
    *,
    card: str | None = None,
) -> Path:
    """Writes the model as a folder, complete or not at all, replacing a bundle that is there; returns the folder.

    Weights are stored in 16 bits (``write_tensors``). ``card`` is the model card's own part, in Markdown. ValueError for
    weights that are not finite, or when ``directory`` holds something that is not a bundle.
    """
    target = Path(directory)
    if target.exists() and any(target.iterdir()) and not (target / CONFIG).is_file():
        raise ValueError(f"{target} holds other files; choose a new folder for the model")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        folder = Path(temporary) / "new"
        folder.mkdir()
        write_tensors(folder / MODEL, mentor.state_dict())
        write_tensors(folder / IMAGE_TOKENIZER, image_tokenizer.state_dict())
        (folder / CONFIG).write_text(json.dumps(to_dict(mentor.config), indent=2) + "\n", encoding="utf-8")
        (folder / TEXT_TOKENIZER).write_text(text_tokenizer.to_str(), encoding="utf-8")
        (folder / CARD).write_text(model_card(mentor, image_tokenizer, card), encoding="utf-8")
        if target.exists():
            os.replace(target, Path(temporary) / "old")
        os.replace(folder, target)
    return target


def load_bundle(name_or_dir: str | Path) -> Bundle:
    """Loads a model that ships with the package ("mini"), a bundle folder, or a model of the hub ("owner/name").

    Weights are float32 on the CPU. ValueError for an unknown name, a missing, cut off or foreign file, weights that do not
    fit the configuration (naming the tensor and both shapes), and a hub that cannot be reached.
    """
    folder = _locate(str(name_or_dir))
    config = read_config(folder)
    bundle = _random_bundle(config, _read_text_tokenizer(folder / TEXT_TOKENIZER), seed=0)
    parts: dict[str, nn.Module] = {MODEL: bundle.mentor, IMAGE_TOKENIZER: bundle.image_tokenizer}
    for file, module in parts.items():
        load_strict(module, read_tensors(folder / file), str(folder / file))
    return bundle


def read_config(folder: Path) -> MentorConfig:
    """The configuration of a bundle folder; ValueError if it is missing, not JSON, or not a configuration."""
    path = folder / CONFIG
    try:
        return from_dict(MentorConfig, json.loads(path.read_text(encoding="utf-8")), where="")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); is {folder} a model folder?") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _random_bundle(config: MentorConfig, text_tokenizer: Tokenizer, seed: int) -> Bundle:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Bundle(config, Mentor(config).eval(), ImageTokenizer(config.image_tokenizer).eval(), text_tokenizer)


def _read_text_tokenizer(path: Path) -> Tokenizer:
    try:
        text = path.read_text(encoding="utf-8")
        missing = {"version", "added_tokens", "pre_tokenizer", "model"} - set(json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a readable tokenizer: {error}") from error
    if missing:
        raise ValueError(f"{path} is not a tokenizer of the tokenizers library: it lacks {', '.join(sorted(missing))}")
    return Tokenizer.from_str(text)


def _locate(name: str) -> Path:
    if name in shipped_models():
        return ASSETS / name
    if name and Path(name).is_dir():
        return Path(name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/"):
        return _from_hub(name)
    known = ", ".join(shipped_models()) or "none in this installation"
    raise ValueError(f"unknown model {name!r}; known: {known}; or give a model folder or a hub name (owner/name)")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, MODEL, IMAGE_TOKENIZER, TEXT_TOKENIZER, CARD]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"there is no folder {name}, and the model hub did not give {name!r} ({type(error).__name__}: {reason}); "
            f"without a network use a shipped model ({', '.join(shipped_models())}) or a local folder"
        ) from error
