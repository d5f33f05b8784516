"""Names and shapes of the released checkpoints, as the reference classes list them (``official/*.txt``)."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

OFFICIAL = Path(__file__).parent / "official"


def official_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape, of ``mentor_gpt_xl``, ``llamagen_t2i_xl``, ``vq16`` or ``vq8``.

    In the files ``{0-35}`` stands for every number of that range.
    """
    keys = {}
    for line in (OFFICIAL / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        pattern, _, shape = line.partition(" ")
        parts = re.split(r"\{(\d+)-(\d+)\}", pattern)
        ranges = [range(int(low), int(high) + 1) for low, high in zip(parts[1::3], parts[2::3], strict=True)]
        for numbers in itertools.product(*ranges):
            key = "".join(f"{text}{number}" for text, number in zip(parts[::3], (*numbers, ""), strict=True))
            assert key not in keys, key
            keys[key] = tuple(json.loads(shape))
    return keys
