"""Parts of a model as other libraries keep them: folders of CLIP and T5, and T5's text tokenizer."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from mentor.checkpoint.hub import HubOptions, hub_errors
from mentor.checkpoint.layout import TEXT_TOKENIZER
from mentor.checkpoint.official import LANGUAGE_NAMES, VISION_NAMES
from mentor.checkpoint.pickles import read_pickles
from mentor.checkpoint.shards import find_shards, stored_files
from mentor.checkpoint.sources import Source
from mentor.checkpoint.text_tokenizer import read_tokenizer
from mentor.prompt import IMAGE_PLACEHOLDER

FLAN_T5 = "google/flan-t5-xl"
"""Whose text tokenizer the released models read with."""

_TEXT_PARTS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
_WRITING_PARTS = ("decoder.", "lm_head.")


def read_vision(folder: Path) -> Source:
    """The vision part of a CLIP model in the hub's layout."""
    return Source(read_pickles(folder, weight_files(folder)), VISION_NAMES, _TEXT_PARTS)


def read_language(folder: Path) -> Source:
    """The encoder of a T5 model in the hub's layout."""
    return Source(read_pickles(folder, weight_files(folder)), LANGUAGE_NAMES, _WRITING_PARTS)


def weight_files(folder: Path) -> list[Path]:
    """The files of a hub folder that hold its weights; ValueError if there are none or a shard is missing."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected one as the model hub has it, with model.safetensors")
    if stored_files(folder, "model"):
        return find_shards(folder, "model")[0]
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if not pickles:
        raise ValueError(
            f"{folder} holds no weights; expected model.safetensors or pytorch_model.bin, alone or in shards"
        )
    parts = re.search(r"-of-(\d+)\.bin$", pickles[-1].name)
    if parts and int(parts[1]) != len(pickles):
        raise ValueError(
            f"{folder} has {len(pickles)} of {int(parts[1])} shards of pytorch_model.bin; copy the others too"
        )
    return pickles


def read_text_tokenizer(folder: Path) -> Tokenizer:
    """T5's text tokenizer from tokenizer.json or spiece.model, which has ``<image>`` as its next id."""
    if (folder / TEXT_TOKENIZER).is_file():
        return with_image_token(read_tokenizer(folder / TEXT_TOKENIZER))
    if not (folder / "spiece.model").is_file():
        raise ValueError(f"{folder} holds no text tokenizer; expected {TEXT_TOKENIZER} or spiece.model")
    from transformers import T5Tokenizer

    try:
        tokenizer = T5Tokenizer.from_pretrained(folder, local_files_only=True)
    except (ImportError, OSError, ValueError, TypeError, RuntimeError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(
            f"{folder / 'spiece.model'} cannot be read ({reason}); put the {TEXT_TOKENIZER} of {FLAN_T5} beside it"
        ) from error
    return with_image_token(tokenizer.backend_tokenizer)


def download_text_tokenizer(hub: HubOptions) -> Tokenizer:
    """FLAN-T5's text tokenizer from the hub or its cache; ValueError, saying why, when it is not to be had."""
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(
            FLAN_T5, TEXT_TOKENIZER, cache_dir=hub.cache_dir, token=hub.token, local_files_only=hub.local_files_only
        )
    except hub_errors() as error:
        raise ValueError(f"the model hub did not give {FLAN_T5} ({type(error).__name__})") from error
    return with_image_token(read_tokenizer(Path(path)))


def with_image_token(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, which knows ``<image>``: where it does not yet, as the id after its last."""
    if tokenizer.token_to_id(IMAGE_PLACEHOLDER) is None:
        # Not special: what a person types as </s> must stay text, and the processor asks for that for special tokens.
        tokenizer.add_tokens([AddedToken(IMAGE_PLACEHOLDER, normalized=False)])
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
