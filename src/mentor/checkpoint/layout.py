"""What a bundle folder holds, and its configuration.

config.json  model.safetensors  image_tokenizer.safetensors  tokenizer.json  [query_tokenizer.json]  README.md
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from mentor.checkpoint.foreign import describe
from mentor.checkpoint.shards import patterns
from mentor.config.load import from_dict
from mentor.config.model import ImageTokenizerConfig, MentorConfig

CONFIG, TEXT_TOKENIZER, QUERY_TOKENIZER, CARD = "config.json", "tokenizer.json", "query_tokenizer.json", "README.md"
MODEL, IMAGE_TOKENIZER = "model", "image_tokenizer"
"""Stems of the files that hold the weights."""

ASSETS = Path(str(files("mentor"))) / "assets"
WEIGHT_FILES = [*patterns(MODEL), *patterns(IMAGE_TOKENIZER)]
BUNDLE_FILES = [CONFIG, TEXT_TOKENIZER, QUERY_TOKENIZER, CARD, *WEIGHT_FILES]
"""Glob patterns of every file that a bundle may have."""


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return _shipped(MODEL)


def shipped(name: str) -> Path | None:
    """Folder of what comes with the package under this name: a model, or (in a clone) an image tokenizer alone."""
    return ASSETS / name if name in (*shipped_models(), *_shipped(IMAGE_TOKENIZER)) else None


def _shipped(stem: str) -> list[str]:
    return sorted(path.parent.name for path in ASSETS.glob(f"*/{stem}.safetensors"))


def read_config(folder: Path) -> MentorConfig:
    """The configuration of a bundle folder.

    ValueError if it is missing, not JSON or not a configuration, and for a folder or file of another kind of model.
    """
    path = folder / CONFIG
    what = describe(folder)
    if what is not None:
        raise ValueError(
            f"{folder} is {what}; expected a model folder of mentor, with {CONFIG} and {MODEL}.safetensors"
        )
    try:
        return from_dict(MentorConfig, json.loads(path.read_text(encoding="utf-8")), where="")
    except OSError as error:
        if (folder / "final" / CONFIG).is_file():
            raise ValueError(f"{folder} is the folder of a training run; its model is {folder / 'final'}") from error
        raise ValueError(f"{path} cannot be read ({error.strerror}); is {folder} a model folder?") from error
    except (ValueError, RecursionError) as error:
        if image_tokenizer_config(folder) is not None:
            raise ValueError(
                f"{folder} holds an image tokenizer alone; expected a whole model, such as one that was trained on its codes"
            ) from error
        raise ValueError(f"{path}: {error}") from error


def image_tokenizer_config(folder: Path) -> ImageTokenizerConfig | None:
    """The configuration in a folder of an image tokenizer alone; None for any other folder."""
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # read_config says what is wrong
    if not isinstance(values, dict) or "backbone" not in values:
        return None
    return from_dict(ImageTokenizerConfig, values)


def bundle_files(folder: Path) -> list[Path]:
    """Files of a folder that have the names of a bundle's."""
    return [path for path in folder.iterdir() if any(path.match(pattern) for pattern in BUNDLE_FILES)]


def check_target(folder: Path) -> None:
    """ValueError where a bundle must not be saved because it would overwrite what is no bundle's."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file; choose a new folder for the model")
    theirs = sorted(path.name for path in bundle_files(folder)) if folder.is_dir() else []
    if theirs:
        try:
            read_config(folder)
        except ValueError as error:
            raise ValueError(
                f"{folder} holds {', '.join(theirs[:3])} and no model of mentor ({error}); choose a new folder for the model"
            ) from error
