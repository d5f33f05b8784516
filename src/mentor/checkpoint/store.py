"""Whole models as folders (``layout``): saved complete or not at all, loaded tensor by tensor."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from mentor.checkpoint.build import allocate
from mentor.checkpoint.card import model_card
from mentor.checkpoint.hub import HubOptions, locate
from mentor.checkpoint.layout import (
    ASSETS,
    CARD,
    CONFIG,
    IMAGE_TOKENIZER,
    MODEL,
    QUERY_TOKENIZER,
    TEXT_TOKENIZER,
    bundle_files,
    check_target,
    image_tokenizer_config,
    read_config,
)
from mentor.checkpoint.strict import check_names, load_strict
from mentor.checkpoint.tensors import Storage, read_tensors, write_tensors
from mentor.checkpoint.text_tokenizer import read_text_tokenizers, read_tokenizer
from mentor.config.load import to_dict
from mentor.config.model import MentorConfig
from mentor.models.image_tokenizer import ImageTokenizer
from mentor.models.mentor import Mentor


@dataclass
class Bundle:
    """A model in memory, in evaluation mode: what a bundle folder holds."""

    config: MentorConfig
    mentor: Mentor
    image_tokenizer: ImageTokenizer
    text_tokenizer: Tokenizer
    query_tokenizer: Tokenizer | None = None
    """What a Query-Former reads; None for other connectors."""
    card: str | None = None
    """The model card that lay in the folder, whole."""

    def __post_init__(self) -> None:
        check_codes(self.config.decoder.vocab_size, self.image_tokenizer.config.codebook_size)

    def save_with(self, mentor: Mentor, folder: Path, *, card: str | None = None) -> Path:
        """``save_bundle`` of this bundle with other weights, as training leaves them, in 16 bits."""
        parts = (self.image_tokenizer, self.text_tokenizer)
        return save_bundle(folder, mentor, *parts, query_tokenizer=self.query_tokenizer, card=card, storage="half")


def check_codes(vocabulary: int, codes: int) -> None:
    """ValueError where a decoder writes other image tokens than an image tokenizer knows."""
    if vocabulary != codes:
        raise ValueError(
            f"the decoder writes {vocabulary} image tokens, the image tokenizer knows {codes}: they do not belong together; "
            "decoder.vocab_size and image_tokenizer.codebook_size must be the same"
        )


def new_bundle(config: MentorConfig, *, seed: int = 0, towers: Path = ASSETS / "towers") -> Bundle:
    """An untrained model: the pretrained towers of ``towers``, everything else random from ``seed``.

    ValueError when the towers are not there or were built for another configuration.
    """
    if not (towers / TEXT_TOKENIZER).is_file():
        raise ValueError(f"no pretrained towers in {towers}; build them with: python -m mentor.construction.towers")
    text_tokenizer = read_tokenizer(towers / TEXT_TOKENIZER)
    reads_queries = config.connector is not None and config.connector.kind == "query_former"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mentor, image_tokenizer = Mentor(config).eval(), ImageTokenizer(config.image_tokenizer).eval()
    for name, module in {"vision": mentor.encoder.vision, "language": mentor.encoder.language}.items():
        if module is not None:
            load_strict(module, read_tensors(towers, name), str(towers / f"{name}.safetensors"))
    # The towers' words are BERT's, which a Query-Former reads too.
    return Bundle(config, mentor, image_tokenizer, text_tokenizer, text_tokenizer if reads_queries else None)


def save_bundle(
    directory: str | Path,
    mentor: Mentor,
    image_tokenizer: ImageTokenizer,
    text_tokenizer: Tokenizer,
    *,
    query_tokenizer: Tokenizer | None = None,
    card: str | None = None,
    whole_card: str | None = None,
    storage: Storage = "full",
) -> Path:
    """``write_bundle`` for a model in memory."""
    return write_bundle(
        directory,
        mentor.config,
        mentor.state_dict(),
        image_tokenizer.state_dict(),
        text_tokenizer,
        query_tokenizer=query_tokenizer,
        card=card,
        whole_card=whole_card,
        storage=storage,
    )


def write_bundle(
    directory: str | Path,
    config: MentorConfig,
    model: Mapping[str, Tensor],
    image_tokenizer: Mapping[str, Tensor],
    text_tokenizer: Tokenizer | None,
    *,
    query_tokenizer: Tokenizer | None = None,
    card: str | None = None,
    whole_card: str | None = None,
    storage: Storage = "full",
) -> Path:
    """Writes a model as a folder, complete or not at all, in place of a bundle that is there; returns the folder.

    Other files of the folder stay. Only where the process ends among the last renames is the folder left without its
    configuration: no model, but never two mixed.

    ``model`` and ``image_tokenizer`` have the names of ``Mentor(config)`` and its ``ImageTokenizer``; they are gone through
    once, a shard at a time. Without ``text_tokenizer`` the bundle is not complete, and loading says what to add. ``card`` is
    the model card's own part, in Markdown, ``whole_card`` all of it. ValueError for other names or shapes, for weights that are
    not finite in 16 bits, or when ``directory`` holds files of such names that are no bundle's.
    """
    target = Path(directory).resolve()
    check_target(target)
    parts = {MODEL: model, IMAGE_TOKENIZER: image_tokenizer}
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {MODEL: Mentor(config), IMAGE_TOKENIZER: ImageTokenizer(config.image_tokenizer)}
    for stem, state in parts.items():
        check_names(modules[stem].state_dict(), state, f"what is to be saved as {stem}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # In a folder that is there: it may be a mount, where somebody stands, or the only one that may be written.
    place = target if target.is_dir() else target.parent
    with tempfile.TemporaryDirectory(dir=place, prefix=".saving-") as temporary:
        folder = Path(temporary) / "new"
        folder.mkdir()
        for stem, state in parts.items():
            write_tensors(folder, stem, state, storage=storage)
        (folder / CONFIG).write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
        for file, tokenizer in {TEXT_TOKENIZER: text_tokenizer, QUERY_TOKENIZER: query_tokenizer}.items():
            if tokenizer is not None:
                (folder / file).write_text(tokenizer.to_str(), encoding="utf-8")
        (folder / CARD).write_text(whole_card or model_card(config, card), encoding="utf-8")
        try:
            if target.is_dir():
                _exchange(folder, target)
            else:
                os.replace(folder, target)
        except OSError as error:
            raise ValueError(
                f"{target} cannot be written ({error.strerror}); does another process save there?"
            ) from error
    return target


def _exchange(new: Path, target: Path) -> None:
    """Moves a bundle's files into a folder, over those of the bundle in it."""
    (target / CONFIG).unlink(missing_ok=True)  # until everything is there, it is no model
    names = {path.name for path in new.iterdir()}
    for path in bundle_files(target):
        if path.name not in names:
            path.unlink()
    for name in sorted(names - {CONFIG}):
        os.replace(new / name, target / name)
    os.replace(new / CONFIG, target / CONFIG)


def load_bundle(
    name_or_dir: str | Path,
    *,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Bundle:
    """Loads a model that ships with the package ("mini"), a bundle folder, or a model of the hub ("owner/name").

    Weights are cast while they are read: to ``dtype``, or where that is None to ``config.encoder_dtype`` in the multimodal
    encoder and float32 elsewhere. They lie on the CPU; no second copy of them is made. The rest is how the hub is asked
    (``HubOptions``).

    ValueError for an unknown name, a missing, cut off or foreign file, weights that do not fit the configuration (naming the
    tensor and both shapes), and a hub that cannot be reached.
    """
    folder = locate(str(name_or_dir), HubOptions(revision, cache_dir, token, local_files_only))
    config = read_config(folder)
    text_tokenizer, query_tokenizer = read_text_tokenizers(folder, config)
    stored = {stem: read_tensors(folder, stem) for stem in (MODEL, IMAGE_TOKENIZER)}
    mentor, image_tokenizer = allocate(config, dtype)
    load_strict(mentor, stored[MODEL], str(folder / f"{MODEL}.safetensors"))
    load_strict(image_tokenizer, stored[IMAGE_TOKENIZER], str(folder / f"{IMAGE_TOKENIZER}.safetensors"))
    card = folder / CARD
    return Bundle(
        config,
        mentor,
        image_tokenizer,
        text_tokenizer,
        query_tokenizer,
        card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None,
    )


def load_image_tokenizer(name_or_dir: str | Path) -> ImageTokenizer:
    """The image tokenizer of a model (``load_bundle``), or of a folder that holds nothing else: ``final`` of its own run."""
    folder = locate(str(name_or_dir), HubOptions())
    image_tokenizer = ImageTokenizer(image_tokenizer_config(folder) or read_config(folder).image_tokenizer)
    stored = read_tensors(folder, IMAGE_TOKENIZER)
    load_strict(image_tokenizer, stored, str(folder / f"{IMAGE_TOKENIZER}.safetensors"))
    return image_tokenizer.eval()
