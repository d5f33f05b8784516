"""What is said while something takes long that happens once: a start without a word looks like one that hangs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 5.0
"""How long may pass in silence."""


@contextmanager
def told_when_slow(what: str) -> Iterator[None]:
    """Says ``what`` in one line on stderr if the block lasts longer than ``SECONDS``."""
    timer = threading.Timer(SECONDS, lambda: print(what, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # workers that are forked next have no thread to copy
