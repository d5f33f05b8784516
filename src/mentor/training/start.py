"""Where the weights of a MENTOR run start, and whether its shards were made with the same frozen networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import nn

from mentor.checkpoint.hub import HubOptions, here, locate
from mentor.checkpoint.layout import IMAGE_TOKENIZER
from mentor.checkpoint.query_former import PARTS, with_query_former
from mentor.checkpoint.store import Bundle, load_bundle, new_bundle
from mentor.checkpoint.strict import load_strict
from mentor.checkpoint.tensors import read_tensors
from mentor.config.load import differences, to_dict
from mentor.config.model import MentorConfig
from mentor.config.run import TrainConfig
from mentor.data.corpus import find_pack
from mentor.training.fitting import fitted

RANDOM = "random"


def starting_bundle(config: TrainConfig) -> Bundle:
    """The model a recipe starts from.

    ``init.bundle`` gives all weights, but for those that ``init.parts``, ``fresh`` and ``query_former`` say (``fitted``).
    Otherwise the towers are the pretrained ones, ``init.image_tokenizer`` gives the image tokenizer, and the rest is
    random from the recipe's seed. Raises ValueError if a starting point is missing or does not fit the recipe's model.
    """
    model = config.model.resolve()
    _check_earlier_runs(config)
    if config.init.bundle is not None:
        if config.init.image_tokenizer is not None:
            raise ValueError("init: give bundle or image_tokenizer, not both; a bundle holds its image tokenizer")
        return _from_bundle(config, config.init.bundle, model)
    if config.init.parts or config.init.fresh or config.init.query_former:
        raise ValueError("init: parts, fresh and query_former change a bundle; give init.bundle too")
    bundle = new_bundle(model, seed=config.seed)
    source = config.init.image_tokenizer
    if source is None:
        raise ValueError(
            "init.image_tokenizer is needed: the `final` folder of a tokenizer run, or a model's folder or name"
        )
    if source != RANDOM:
        fill_image_tokenizer(bundle.image_tokenizer, source)
    return bundle


def _check_earlier_runs(config: TrainConfig) -> None:
    for key, source in (("bundle", config.init.bundle), ("image_tokenizer", config.init.image_tokenizer)):
        # Names of the package have no separator, names of the hub have one.
        if source is not None and len(Path(source).parts) > 2 and here(source) is None:
            raise ValueError(
                f"init.{key}: {source} is not there; train what the recipe starts from first (`mentor recipes "
                f"{config.name}` tells), or give another folder"
            )


def _from_bundle(config: TrainConfig, source: str, model: MentorConfig) -> Bundle:
    init, bundle = config.init, load_bundle(source)
    if init.query_former is not None and model.connector is not None:
        bundle, _ = with_query_former(bundle, model.connector, init.query_former, fresh=PARTS)
    return fitted(bundle, model, source, parts=init.parts, fresh=init.fresh, seed=config.seed)


def fill_image_tokenizer(image_tokenizer: nn.Module, source: str) -> None:
    """Fills an image tokenizer from the `final` folder of a tokenizer run, or from a bundle: its folder or name.

    Raises ValueError if there is none, or if the file does not fit the configuration.
    """
    folder = locate(source, HubOptions())
    load_strict(image_tokenizer, read_tensors(folder, IMAGE_TOKENIZER), str(folder / f"{IMAGE_TOKENIZER}.safetensors"))


def origin_of(config: TrainConfig, bundle: Bundle) -> dict[str, Any]:
    """What precomputed shards depend on: the data section and fingerprints of the frozen networks."""
    model, vision = bundle.config, bundle.mentor.encoder.vision
    origin: dict[str, Any] = {
        "seed": config.seed,
        "weights": config.data.weights,
        "image_size": model.image_size,
        "context": model.context,
        "vision": None if vision is None else fingerprint(vision, model.vision),
        "image_tokenizer": fingerprint(bundle.image_tokenizer),
        "text_tokenizer": _fingerprint_text(bundle.text_tokenizer),
    }
    if (corpus := _corpus(config)) is not None:
        origin["corpus"] = corpus
    if config.data.weights and config.data.defaults:
        origin["defaults"] = config.data.defaults
    if config.data.sources:
        origin["sources"] = to_dict(config.data.all_sources)
    if bundle.query_tokenizer is not None:
        origin["query_former"] = {
            "queries": model.tokens_per_image,
            "tokenizer": _fingerprint_text(bundle.query_tokenizer),
        }
    return origin


def check_origin(config: TrainConfig, origin: dict[str, Any], bundle: Bundle) -> None:
    """Raises ValueError if shards were made with other networks or picture size than the model that trains on them."""
    wanted = origin_of(config, bundle)
    # Seed, weights, sources and corpus say which samples were drawn, which the model need not know.
    named = {*wanted, "query_former"} - {"seed", "weights", "defaults", "sources", "corpus"}
    changed = differences({key: origin.get(key) for key in named}, {key: wanted.get(key) for key in named})
    if changed:
        raise ValueError(
            f"the shards in {config.data.shards} do not fit this model ({'; '.join(changed)}); "
            "make them again with `mentor precompute` and the same recipe"
        )


def not_heeded(config: TrainConfig, origin: Mapping[str, Any]) -> list[str]:
    """What a recipe says about its samples and precomputed shards decide otherwise, a line each; a share of 0 is heeded."""

    def shares(weights: Mapping[str, float]) -> dict[str, float]:
        held = {task: weight for task, weight in weights.items() if weight and task not in config.data.left_out}
        return {task: round(weight / sum(held.values()), 3) for task, weight in held.items()}

    asked, made = shares(config.data.weights), shares(origin.get("weights") or {})
    told = []
    if config.data.weights and made and asked != made:
        told.append(f"data.weights: not heeded, the shards were made with {_listed(made)} instead of {_listed(asked)}")
    if config.data.weights and made and config.data.defaults != origin.get("defaults", {}):
        told.append("data.defaults: not heeded, the shards were made with others")
    if config.data.sources and "sources" in origin and to_dict(config.data.all_sources) != origin["sources"]:
        told.append("data.sources: not heeded, the shards were made from others")
    if (corpus := _corpus(config)) is not None and origin.get("corpus", corpus) != corpus:
        told.append("data.corpus: not heeded, the shards were made from another one")
    return told


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{task} {share:g}" for task, share in sorted(shares.items()))


def _corpus(config: TrainConfig) -> str | None:
    """A hash of the corpus that samples are composed from; None where none is used, or where it is not here any more."""
    packs = [source.path for source in config.data.all_sources if source.kind == "corpus"]
    try:
        manifests = [(find_pack(pack) / "manifest.json").read_bytes() for pack in packs]
    except ValueError:
        return None
    return hashlib.sha256(b"".join(manifests)).hexdigest()[:16] if manifests else None


def _fingerprint_text(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()[:16]


def fingerprint(module: nn.Module, config: Any = None) -> str:
    """Short hash of a module's weights as they are stored (float16), and of its configuration if given."""
    digest = hashlib.sha256()
    if config is not None:
        digest.update(json.dumps(to_dict(config), sort_keys=True).encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().half().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
