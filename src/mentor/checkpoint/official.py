"""Names of the released checkpoints <-> names of our state dicts, both ways, name by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

EMBEDDING = "encoder.language.model.embed_tokens.weight"
SHARED = "multimodal_encoder.language_model.shared.weight"
"""A second name of the tensor that we call ``EMBEDDING``: the reference lists its word embeddings twice."""

MODEL_NAMES = {
    "multimodal_encoder.vision_model.vision_tower.vision_model.": "encoder.vision.trunk.",
    "multimodal_encoder.language_projection.0.": "encoder.connector.fc1.",
    "multimodal_encoder.language_projection.2.": "encoder.connector.fc2.",
    "multimodal_encoder.language_model.encoder.": "encoder.language.model.",
    SHARED: EMBEDDING,
    "cls_embedding.cap_proj.": "projector.",
    "cls_embedding.uncond_embedding": "null_condition",
    "tok_embeddings.": "decoder.tok_embeddings.",
    "layers.": "decoder.layers.",
    "norm.": "decoder.norm.",
    "output.": "decoder.output.",
}
"""How a name begins in MENTOR's and in stock LlamaGen's files -> how it begins in ours."""

PROJECTOR_NAMES = {"model.mm_projector.0.": "fc1.", "model.mm_projector.2.": "fc2."}
"""The same for the projector files of LLaVA's pre-training, which hold a connector."""

IMAGE_TOKENIZER_NAMES = {"": ""}
"""The same for LlamaGen's image tokenizers, which are called as ours are."""

VISION_NAMES = {"vision_model.": "encoder.vision.trunk.", "": "encoder.vision.trunk."}
LANGUAGE_NAMES = {"encoder.": "encoder.language.model.", "shared.weight": EMBEDDING}
"""The same for the hub's CLIP and T5 models (``VISION_NAMES``: a whole CLIP model, or its vision part alone)."""

CODEBOOK_USED = "quantize.codebook_used"
"""A buffer of the image tokenizers in which training counted codes. Ours have none; the reference reads its shape."""
CODEBOOK_USED_SHAPE = (65536,)

IGNORED = {
    r"layers\.\d+\.attention\.kv_cache\.[kv]_cache": "key-value caches of a generation",
    r"freqs_cis|causal_mask": "tables that follow from the configuration",
    r"(.*\.)?embeddings\.position_ids": "position numbers",
    r"quantize\.codebook_used": "the training's count of codes",
}
"""Tensors (whole names) that are no weights, and what they are. They are left out, and this is said."""


@dataclass
class Renamed:
    """Names of a file, sorted by what becomes of them."""

    ours: dict[str, str] = field(default_factory=dict)
    """Our name -> the file's."""
    unknown: list[str] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    """What was left out -> how many tensors."""


def from_official(name: str, table: Mapping[str, str] = MODEL_NAMES) -> str | None:
    """Our name of a tensor that a released file calls ``name``; None where it has none."""
    return _swap(name, table.items())


def to_official(name: str, table: Mapping[str, str] = MODEL_NAMES) -> str | None:
    """What the released files call our tensor ``name``; None where they have no such thing."""
    return _swap(name, ((ours, theirs) for theirs, ours in table.items()))


def _swap(name: str, table: Iterable[tuple[str, str]]) -> str | None:
    for one, other in table:
        # A whole name (without the dot) only stands for itself.
        if name.startswith(one) if one.endswith(".") or not one else name == one:
            return other + name.removeprefix(one)
    return None


def rename(names: Iterable[str], table: Mapping[str, str] = MODEL_NAMES) -> Renamed:
    """Sorts a file's names; of the two names of the word embeddings, ``shared`` gives way to the encoder's own."""
    renamed = Renamed()
    for name in names:
        what = next((what for pattern, what in IGNORED.items() if re.fullmatch(pattern, name)), None)
        ours = from_official(name, table)
        if what is not None:
            renamed.ignored[what] = renamed.ignored.get(what, 0) + 1
        elif ours is None:
            renamed.unknown.append(name)
        elif name.endswith("shared.weight"):
            renamed.ours.setdefault(ours, name)
        else:
            renamed.ours[ours] = name
    return renamed
