"""A Query-Former's weights and text tokenizer out of a hub folder of InstructBLIP or BLIP-2 (paper 2.2).

Theirs read another vision tower and wrote to another language model than ours may, and BLIP-2's as published for generation
never read text. What cannot be taken stays random, but only where the caller says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from mentor.checkpoint.foreign import describe_folder
from mentor.checkpoint.hub_parts import weight_files
from mentor.checkpoint.pickles import read_pickles
from mentor.checkpoint.store import Bundle
from mentor.checkpoint.text_tokenizer import read_tokenizer
from mentor.config.model import ConnectorConfig
from mentor.models.query_former import QueryFormerConnector

PARTS = {
    "vision": re.compile(r"\.crossattention\.attention\.(key|value)\.weight$"),
    "text": re.compile(
        r"^qformer\.(embeddings\.(word|position)_embeddings|encoder\.layer\.\d+\.(intermediate|output))\."
    ),
    "projection": re.compile(r"^language_projection\."),
}
"""What may stay random: the tensors that read another tower's tokens, that read text, that write to another language model."""

_RENAMED = {"qformer.layernorm.": "qformer.embeddings.layernorm.", "embeddings.": "qformer.embeddings."}
"""How BLIP-2's names begin, and InstructBLIP's, which are ours."""
_PREFIXES = ("qformer.", "query_tokens", "language_projection.")
_SETTINGS = ("num_attention_heads", "cross_attention_frequency", "hidden_act", "layer_norm_eps")
"""What changes the numbers and no tensor's shape."""


def load_query_former(connector: QueryFormerConnector, folder: str | Path, *, fresh: Collection[str] = ()) -> list[str]:
    """Fills ``connector`` from a hub folder of InstructBLIP or BLIP-2; returns the names of the tensors that stay as they were.

    A tensor stays only where theirs is missing or of another shape and its part is in ``fresh`` (names of ``PARTS``).
    ValueError, before anything is changed, for every other tensor that is missing, unknown or of another shape, for settings
    that differ, and for a folder that holds another model or damaged files.
    """
    folder = Path(folder)
    unknown = sorted(set(fresh) - set(PARTS))
    if unknown:
        raise ValueError(f"fresh: a Query-Former has no part {unknown[0]!r}; known: {', '.join(PARTS)}")
    _check_settings(connector, folder)
    stored, expected = _query_former(folder), connector.state_dict()
    misfits = {
        name: f"{name} {_misfit(stored.get(name), target)}"
        for name, target in expected.items()
        if name not in stored or stored[name].shape != target.shape
    }
    parts = {name: _part(name) for name in misfits}
    problems = [misfits[name] for name, part in parts.items() if part not in fresh]
    problems += [f"{name} is not part of the configured connector" for name in stored if name not in expected]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        needed = set(parts.values()) | set(fresh)
        hint = f"; to leave such tensors random pass fresh={sorted(needed)}" if needed <= set(PARTS) and parts else ""
        raise ValueError(f"{folder} does not fit the connector: {'; '.join(problems[:3])}{more}{hint}")
    with torch.no_grad():
        for name, target in expected.items():
            if name not in misfits:
                target.copy_(stored[name])
    return list(misfits)


def with_query_former(
    bundle: Bundle, config: ConnectorConfig, folder: str | Path, *, fresh: Collection[str] = ()
) -> tuple[Bundle, list[str]]:
    """A bundle with the Query-Former of a hub folder in place of its connector, to be trained further; and what stays random.

    See ``load_query_former``. Takes over the modules of ``bundle``, which is of no use afterwards. ValueError also for a model
    that reads text only and for a folder without the Query-Former's tokenizer.
    """
    vision, language = bundle.config.vision, bundle.config.language
    if vision is None:
        raise ValueError(f"the model {bundle.config.name} reads text only: there are no images to look at")
    tokenizer = read_query_tokenizer(folder)
    changed = replace(bundle.config, name=f"{bundle.config.name}-query-former", connector=config)
    connector = QueryFormerConnector(config, vision.width, language.width).eval()
    left = load_query_former(connector, folder, fresh=fresh)
    bundle.mentor.encoder.connector = connector.to(next(bundle.mentor.encoder.language.parameters()).dtype)
    bundle.mentor.config = changed
    return replace(bundle, config=changed, query_tokenizer=tokenizer, card=None), left


def read_query_tokenizer(folder: str | Path) -> Tokenizer:
    """The Q-Former's text tokenizer in a hub folder of InstructBLIP; ValueError where there is none, as in BLIP-2's.

    BLIP-2 that reads text has it as the folder's only tokenizer.
    """
    folder = Path(folder)
    path = folder / "qformer_tokenizer" / "tokenizer.json"
    if not path.is_file() and _settings(folder).get("use_qformer_text_input"):
        path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no tokenizer of a Query-Former (expected {path.relative_to(folder)}); "
            "InstructBLIP's folders have one, and BERT's (bert-base-uncased) is the same but for one word"
        )
    return read_tokenizer(path)


def _misfit(stored: Tensor | None, target: Tensor) -> str:
    if stored is None:
        return "is missing"
    return f"has shape {list(stored.shape)}, the connector's {list(target.shape)}"


def _part(name: str) -> str:
    return next((part for part, pattern in PARTS.items() if pattern.search(name)), "")


def _query_former(folder: Path) -> dict[str, Tensor]:
    """The Q-Former's tensors under our names; what belongs to the other parts of their model is left out."""
    stored = read_pickles(folder, weight_files(folder)).tensors
    tensors = {}
    for name in stored:
        renamed = next((new + name.removeprefix(old) for old, new in _RENAMED.items() if name.startswith(old)), name)
        if renamed.startswith(_PREFIXES) and not renamed.endswith(".position_ids"):
            tensors[renamed] = stored[name]
    return tensors


def _check_settings(connector: QueryFormerConnector, folder: Path) -> None:
    own, theirs = connector.qformer.config, _settings(folder)
    defaults = type(own)()  # a setting that has its default may be left out of the file
    for name in _SETTINGS:
        value = theirs.get(name, getattr(defaults, name))
        if value != getattr(own, name):
            raise ValueError(
                f"{folder / 'config.json'} has {name} {value}, the connector {getattr(own, name)}: the same weights would "
                "give other numbers"
            )


def _settings(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says of the Q-Former; ValueError when it cannot be read or is another model's."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}); expected a hub folder of InstructBLIP or BLIP-2") from error
    known = isinstance(config, dict) and config.get("model_type") in ("instructblip", "blip-2")
    if not known or not isinstance(config.get("qformer_config"), dict):
        raise ValueError(f"{folder} holds {describe_folder(folder) or 'no model'}; expected InstructBLIP or BLIP-2")
    settings: dict[str, Any] = config["qformer_config"]
    return settings
