"""Where the weights of a MENTOR run start, and whether its shards were made with the same frozen networks."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from mentor.checkpoint.store import ASSETS, IMAGE_TOKENIZER, Bundle, load_bundle, new_bundle, shipped_models
from mentor.checkpoint.tensors import load_strict, read_tensors
from mentor.config.load import differences, to_dict
from mentor.config.model import MentorConfig
from mentor.config.run import TrainConfig

RANDOM = "random"


def starting_bundle(config: TrainConfig) -> Bundle:
    """The model a recipe starts from.

    ``init.bundle`` gives all weights; it may have been trained for another picture size, which changes no weight.
    Otherwise the towers are the pretrained ones, ``init.image_tokenizer`` gives the image tokenizer, and the rest is
    random from the recipe's seed. Raises ValueError if a starting point is missing or does not fit the recipe's model.
    """
    model = config.model.resolve()
    if config.init.bundle is not None:
        if config.init.image_tokenizer is not None:
            raise ValueError("init: give bundle or image_tokenizer, not both; a bundle holds its image tokenizer")
        return _resized(load_bundle(config.init.bundle), model, config.init.bundle)
    bundle = new_bundle(model, seed=config.seed)
    source = config.init.image_tokenizer
    if source is None:
        raise ValueError(
            "init.image_tokenizer is needed: the `final` folder of a tokenizer run, or a shipped model's name"
        )
    if source != RANDOM:
        load_image_tokenizer(bundle.image_tokenizer, source)
    return bundle


def load_image_tokenizer(image_tokenizer: nn.Module, source: str) -> None:
    """Fills an image tokenizer from the `final` folder of a tokenizer run, a bundle's folder, or a shipped model's name.

    Raises ValueError if the file does not fit the configuration.
    """
    folder = ASSETS / source if source in shipped_models() else Path(source)
    load_strict(image_tokenizer, read_tensors(folder / IMAGE_TOKENIZER), str(folder / IMAGE_TOKENIZER))


def _resized(bundle: Bundle, model: MentorConfig, source: str) -> Bundle:
    grid = bundle.config.decoder.grid
    alike = dataclasses.replace(model, name=bundle.config.name, decoder=dataclasses.replace(model.decoder, grid=grid))
    changed = differences(to_dict(bundle.config), to_dict(alike))
    if changed:
        raise ValueError(f"init.bundle {source} holds another model than the recipe's ({'; '.join(changed[:5])})")
    resized = new_bundle(model)
    load_strict(resized.mentor, bundle.mentor.state_dict(), source)
    load_strict(resized.image_tokenizer, bundle.image_tokenizer.state_dict(), source)
    return resized


def origin_of(config: TrainConfig, bundle: Bundle) -> dict[str, Any]:
    """What precomputed shards depend on: the data section and fingerprints of the frozen networks."""
    model = bundle.config
    return {
        "seed": config.seed,
        "weights": config.data.weights,
        "image_size": model.image_size,
        "context": model.context,
        "vision": fingerprint(bundle.mentor.encoder.vision),
        "image_tokenizer": fingerprint(bundle.image_tokenizer),
        "text_tokenizer": hashlib.sha256(bundle.text_tokenizer.to_str().encode()).hexdigest()[:16],
    }


def check_origin(config: TrainConfig, origin: dict[str, Any], bundle: Bundle) -> None:
    """Raises ValueError if shards were made with other networks or picture size than the model that trains on them."""
    wanted = origin_of(config, bundle)
    # Seed and weights say which samples were drawn, which the model need not know.
    named = [key for key in wanted if key not in ("seed", "weights")]
    changed = differences({key: origin.get(key) for key in named}, {key: wanted[key] for key in named})
    if changed:
        raise ValueError(
            f"the shards in {config.data.shards} do not fit this model ({'; '.join(changed)}); "
            "make them again with `mentor precompute` and the same recipe"
        )


def fingerprint(module: nn.Module) -> str:
    """Short hash of a module's weights as they are stored (float16)."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
