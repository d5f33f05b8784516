"""Numbers that stand for what records say: their instruction, and the picture that they draw."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mentor.config.sources import LlavaOptions, Options, PairsOptions, ReleasedOptions, X2IOptions
from mentor.data.caption_formats import picture_name
from mentor.data.example import BadRecord
from mentor.data.records import Records
from mentor.data.released_record import read_record
from mentor.data.x2i_format import output_name

LARGEST = 2**63 - 1
_KEY = 20250712
_TARGETS: dict[type[Any], tuple[str, Callable[[Any], str]]] = {
    ReleasedOptions: ("released", lambda record: read_record(record).target),
    X2IOptions: ("x2i", output_name),
    LlavaOptions: ("llava", picture_name),
    PairsOptions: ("pairs", picture_name),
}
"""Options of a format -> its name, and what names the picture that a record draws."""


def text_number(text: str) -> int:
    """A number of 63 bits for a text: other ones differ."""
    # JSON may hold halves of characters, and names of files bytes that are none.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def instruction_numbers(records: Records) -> NDArray[np.int64]:
    """int64 [records]: records of X2I with the same instruction have the same number, damaged ones -1."""
    return records.derived("instructions", _instruction)


def target_numbers(records: Records, options: Options) -> NDArray[np.int64]:
    """int64 [records]: a number for the picture that each draws, evenly spread; damaged records have the largest.

    Files that name the same picture have the same number for it. Pictures that lie in their records (``Records.named``) have
    one that follows from the record's place.
    """
    if not records.named:
        spread: NDArray[np.int64] = np.random.default_rng(_KEY).permutation(len(records)).astype(np.int64)
        return spread * (LARGEST // len(records))
    kind, name_of = _TARGETS[type(options)]
    numbers = records.derived(f"targets-{kind}", lambda record: text_number(posixpath.normpath(name_of(record))))
    return np.where(numbers < 0, LARGEST, numbers)


def _instruction(fields: Any) -> int:
    if not isinstance(fields, dict) or not isinstance(fields.get("instruction"), str):
        raise BadRecord("instruction: missing")
    return text_number(fields["instruction"])
