"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial-"
"""How the names of files and folders begin that are being written."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write under: it becomes ``path`` when the block ends well, and is removed when it does not."""
    partial = path.with_name(f"{PARTIAL}{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file. Raises ``OSError`` when the disk refuses; what was there stays then."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def locked(path: Path, refusal: str, *, shared: bool = False) -> Iterator[None]:
    """Keeps other processes out while it lasts; a lock of the system, which ends with the process, however that ends.

    ``shared``: processes that share it are let in.

    Raises ``ValueError`` with the words ``refusal`` where another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with path.open("a+") as file:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.lockf(file, kind | fcntl.LOCK_NB)  # forked workers do not inherit this kind
        except (BlockingIOError, PermissionError):
            raise ValueError(refusal) from None
        except OSError:
            pass  # a file system without locks
        yield
