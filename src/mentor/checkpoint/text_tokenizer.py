"""The text tokenizers of a bundle: files of the tokenizers library, checked before the library reads them."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer

from mentor.checkpoint.layout import QUERY_TOKENIZER, TEXT_TOKENIZER
from mentor.config.model import MentorConfig
from mentor.prompt import IMAGE_PLACEHOLDER

_SOURCES = {
    "t5": "the tokenizer.json of the language encoder's hub folder (google/flan-t5-xl)",
    "bert": "the tokenizer.json that the language encoder was trained with",
    QUERY_TOKENIZER: "the tokenizer.json of the Query-Former (folder qformer_tokenizer of Salesforce/instructblip-flan-t5-xl)",
}


def read_text_tokenizers(folder: Path, config: MentorConfig) -> tuple[Tokenizer, Tokenizer | None]:
    """The bundle's text tokenizer, and its Query-Former's where the model has one.

    A tokenizer as its authors publish it gets ``<image>`` as its next free entry. ValueError, saying which file belongs
    there, for one that is missing or unreadable.
    """
    text = _read(folder / TEXT_TOKENIZER, _SOURCES[config.language.kind])
    if text.token_to_id(IMAGE_PLACEHOLDER) is None and text.get_vocab_size() == config.language.image_token_id:
        text.add_tokens([AddedToken(IMAGE_PLACEHOLDER, normalized=False)])
    if config.connector is None or config.connector.kind != "query_former":
        return text, None
    return text, _read(folder / QUERY_TOKENIZER, _SOURCES[QUERY_TOKENIZER])


def read_tokenizer(path: Path) -> Tokenizer:
    """A file of the tokenizers library; ValueError for one that cannot be read or is something else."""
    try:
        text = path.read_text(encoding="utf-8")
        missing = {"version", "added_tokens", "pre_tokenizer", "model"} - set(json.loads(text))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable tokenizer: {error}") from error
    if missing:
        raise ValueError(f"{path} is not a tokenizer of the tokenizers library: it lacks {', '.join(sorted(missing))}")
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{path} is not a readable tokenizer: {error}; copy it again") from error


def _read(path: Path, source: str) -> Tokenizer:
    if not path.is_file():
        raise ValueError(f"{path} is missing; put {source} there")
    return read_tokenizer(path)
