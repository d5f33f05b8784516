"""A shuffled order of any number of things, one place at a time: nothing as long as the order is ever made."""

from __future__ import annotations

_ROUNDS = 4
_WORD = (1 << 64) - 1


def permuted(place: int, size: int, key: int) -> int:
    """What stands at ``place`` (0 to size - 1) of the order of 0 to size - 1 that belongs to ``key``.

    A Feistel network over the next power of four; what falls outside goes round again, so the order is exact.
    """
    if not 0 <= place < size:
        raise ValueError(f"expected a place from 0 to {size - 1}, got {place}")
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (_mixed(key, number, right) & mask)
        place = left << half | right
        if place < size:
            return place


def _mixed(key: int, number: int, value: int) -> int:
    """64 well mixed bits of three numbers (the finaliser of SplitMix64)."""
    bits = (key * 0x9E3779B97F4A7C15 + number * 0xD1B54A32D192ED03 + value * 0x8CB92BA72F3D8DD7 + 1) & _WORD
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _WORD
    return bits ^ bits >> 31
