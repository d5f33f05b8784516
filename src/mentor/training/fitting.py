"""A saved model becomes the one that a recipe trains: other pictures, contexts, answers to conflicts, other models' parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from mentor.checkpoint.build import allocate
from mentor.checkpoint.hub import HubOptions, locate
from mentor.checkpoint.layout import MODEL
from mentor.checkpoint.store import Bundle
from mentor.checkpoint.strict import load_strict
from mentor.checkpoint.tensors import read_tensors
from mentor.config.load import differences, merge, nested, to_dict
from mentor.config.model import MentorConfig
from mentor.training.weights import under

NULL, CONNECTOR, PROJECTOR = "null_condition", "encoder.connector", "projector"
CHANGEABLE = (
    "name",
    "context",
    NULL,
    "encoder_dtype",
    "vision.fit",
    "language.activation",
    "language.dropout",
    "connector.dropout",
    "decoder.grid",
    "decoder.prefix_rope",
    "decoder.token_dropout",
    "decoder.residual_dropout",
    "decoder.mlp_dropout",
    "generation",
)
"""What a recipe may change: it changes no weight's name, and no shape but the null condition's."""
FRESH = (CONNECTOR, PROJECTOR, NULL)
"""What can start anew in a model whose other weights are given."""


def fitted(
    bundle: Bundle, model: MentorConfig, source: str, *, parts: Mapping[str, str], fresh: Sequence[str], seed: int
) -> Bundle:
    """``bundle``, read from ``source``, as ``model``.

    ``parts``: module name -> bundle that gives its weights; ``fresh``: modules that start random from ``seed``. A connector
    that starts anew, and a projector from elsewhere, may be another one than the bundle's. A null condition of fewer rows gives
    the last ones, which prompts of any length see first; the others are random. ValueError for a bundle of another model, and
    for names that are no part.
    """
    check_model(bundle.config, model, source, given={*parts, *fresh})
    for prefix in fresh:
        if prefix not in FRESH:
            raise ValueError(f"init.fresh: expected some of {', '.join(FRESH)}, got {prefix!r}")
    mentor, image_tokenizer = allocate(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mentor.init_weights()
    state: dict[str, Tensor] = dict(bundle.mentor.state_dict())
    for prefix, other in parts.items():
        stored = read_tensors(locate(other, HubOptions()), MODEL)  # nothing but these tensors is read
        given = {name: stored[name] for name in stored if under(name, prefix)}
        if not given:
            raise ValueError(f"init.parts: {other} has no weights under {prefix!r}")
        state = {name: tensor for name, tensor in state.items() if not under(name, prefix)} | given
    own = mentor.state_dict()
    state = {name: tensor for name, tensor in state.items() if not any(under(name, prefix) for prefix in fresh)}
    state |= {name: tensor for name, tensor in own.items() if any(under(name, prefix) for prefix in fresh)}
    state[NULL] = _rows(state[NULL], own[NULL])
    load_strict(mentor, state, source)
    load_strict(image_tokenizer, bundle.image_tokenizer.state_dict(), source)
    return dataclasses.replace(
        bundle,
        config=model,
        mentor=mentor,
        image_tokenizer=image_tokenizer,
        query_tokenizer=_query_tokenizer(bundle, model),
    )


def _query_tokenizer(bundle: Bundle, model: MentorConfig) -> Tokenizer | None:
    """What a Query-Former's text is read with: the bundle's own, or that of its language encoder where it is a BERT too."""
    if model.connector is None or model.connector.kind != "query_former":
        return None
    if bundle.query_tokenizer is not None or model.language.kind != "bert":
        return bundle.query_tokenizer
    return bundle.text_tokenizer


def check_model(held: MentorConfig, wanted: MentorConfig, source: str, *, given: Collection[str] = ()) -> None:
    """ValueError where a bundle of the configuration ``held`` cannot become ``wanted``; ``given``: parts from elsewhere."""
    if CONNECTOR in given and held.connector is not None and wanted.connector is not None:
        held = dataclasses.replace(held, connector=wanted.connector)
    if PROJECTOR in given:
        held = dataclasses.replace(held, projector=wanted.projector)
    values = to_dict(wanted)
    own = to_dict(held)
    for key in CHANGEABLE:
        part, _, rest = key.partition(".")
        value = own[part]
        if rest and (value is None or values[part] is None):
            continue
        values = merge(values, nested(key, value[rest] if rest else value))
    changed = differences(own, values)
    if changed:
        raise ValueError(f"init.bundle {source} holds another model than the recipe's ({'; '.join(changed[:5])})")


def _rows(held: Tensor, own: Tensor) -> Tensor:
    """The last rows of ``held`` as the last rows of as many as ``own`` has."""
    kept = held[-len(own) :]
    return torch.cat([own[: len(own) - len(kept)].to(kept.dtype), kept])
