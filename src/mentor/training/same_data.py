"""Whether the data are those that a checkpoint was made with: shards and files grow, and other samples come next then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mentor.config.load import differences
from mentor.training.protocol import Feed


def data_of(feed: Feed) -> dict[str, Any]:
    """What the feed says of its data (``Feed``), as it comes back from JSON; nothing where it composes all by itself."""
    said: dict[str, Any] = json.loads(json.dumps(getattr(feed, "data", {})))
    return said


def check_data(feed: Feed, state: Mapping[str, Any], name: str, *, changes: bool | None) -> list[str]:
    """What has changed since the checkpoint ``name`` with this ``state`` was written, a line each.

    Raises ValueError for changes unless they are accepted (``changes``; None: the caller has no flag for it).
    """
    now = data_of(feed)
    changed = differences(state.get("data", now), now)[:5]
    if changed and not changes:
        go_on = "" if changes is None else ", pass --accept-changes to go on with other samples"
        raise ValueError(
            f"the data are not those that {name} was made with ({'; '.join(changed)}), so other samples would come next; "
            f"bring them back, choose another --out{go_on}, or --overwrite to delete that run"
        )
    return [f"not the data that {name} was made with: {line}" for line in changed]
