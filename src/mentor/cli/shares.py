"""``--share I/N``: a command's work divided among processes, on one machine or many."""

from __future__ import annotations

import argparse
import re


def add_share_argument(parser: argparse.ArgumentParser, of: str) -> None:
    """Declares --share."""
    parser.add_argument("--share", default="0/1", metavar="I/N", help=f"share I of N {of} (default: %(default)s)")


def read_share(text: str) -> tuple[int, int]:
    """I and N of ``--share``. Raises ValueError where I is not from 0 to N - 1."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    share, shares = (int(found[1]), int(found[2])) if found else (0, 0)
    if not share < shares:
        raise ValueError(f"--share: expected I/N with I from 0 to N - 1, got {text!r}")
    return share, shares
