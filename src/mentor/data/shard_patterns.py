"""Names of WebDataset shards: ``*`` stands for what is there, braces (``{000..123}``, ``{a,b}``) for what must be there."""

from __future__ import annotations

import re
from pathlib import Path

_BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def shard_paths(pattern: str) -> list[Path]:
    """The files of a pattern, by name. ValueError if there are none, or none for a member of its braces."""
    found: set[Path] = set()
    members = expanded(pattern)
    for member in members:
        base = Path(Path(member).anchor or ".")
        matching = list(base.glob(str(Path(member).relative_to(base)) if Path(member).anchor else member))
        if not matching:
            raise ValueError(f"no shard matches {member}{f', a member of {pattern}' if len(members) > 1 else ''}")
        found.update(matching)
    return sorted(found)


def expanded(pattern: str) -> list[str]:
    """A pattern without braces for each of their members; numbers are as long as the first one where that begins with 0."""
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        parts = [f"{number:0{width}d}" for number in range(int(numbers[1]), int(numbers[2]) + 1)]
        if not parts:
            raise ValueError(f"{pattern}: expected numbers from small to large, got {braces[0]}")
    else:
        parts = braces[1].split(",")
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [one for part in parts for one in expanded(f"{before}{part}{after}")]
