"""Networks of ``transformers`` by name: pinned to a revision where wanted, loaded whole or refused."""

from __future__ import annotations

from typing import Any

import torch

from mentor.checkpoint.hub import here, split_revision


def load_network(kind: Any, what: str, source: str, **settings: Any) -> Any:
    """``kind.from_pretrained(source)`` in evaluation mode, in single precision unless ``dtype`` says otherwise.

    Raises ``ValueError`` as ``load_part`` does, and for weights that are missing or do not fit: ``transformers`` fills them
    with random numbers, and what they give would look like anything else.
    """
    model, found = load_part(kind, what, source, **({"dtype": torch.float32} | settings), output_loading_info=True)
    lacking = sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]]))
    if lacking:
        raise ValueError(f"{what} {source} has no fitting weights for {lacking[0]} ({len(lacking)} in all)")
    return model.eval()


def load_part(kind: Any, what: str, source: str, **settings: Any) -> Any:
    """``kind.from_pretrained`` of a folder or a hub id, which may be pinned, ``owner/name@revision``.

    Raises ``ValueError`` that names ``what`` and ``source`` where it is not there, or is something else.
    """
    local = here(source)
    repository, revision = split_revision(source) if local is None else (str(local), None)
    if revision is not None:
        settings["revision"] = revision
    # OSError: not there, no network, no such repository; the others: a folder of another kind of model, or one that needs
    # a package which is not here.
    try:
        return kind.from_pretrained(repository, **settings)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{what} {source} cannot be loaded ({reason}); give a folder or a hub id of one") from error
