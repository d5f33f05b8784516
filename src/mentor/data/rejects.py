"""Records that could not be used: written down with the reason, counted, and too many of them stop the run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

SETTLED = 200
"""The share is judged as if at least this many samples had been drawn, so that one early bad record stops nothing."""
SIGMAS = 4
"""A share above the limit by chance stops nothing: of many processes that count for themselves one is always unlucky."""


class TooManyRejected(ValueError):
    """More records were broken than the recipe allows."""

    def __init__(self, message: str) -> None:
        # A data loader's worker hands its whole traceback over as the message; the last line says it all.
        super().__init__(message.strip().splitlines()[-1].removeprefix(f"{__name__}.TooManyRejected: "))


class Rejects:
    """Counts samples and broken records of this process; ``limit`` is the largest share, ``file`` takes a line for each.

    Judged is whether the true share can still be within the limit, not the share of the few records seen so far.

    Processes may share the file: a line is written in one piece.
    """

    def __init__(self, limit: float, file: Path | None = None) -> None:
        self.limit, self.file = limit, file
        self.drawn = self.rejected = 0

    def good(self) -> None:
        """One more sample was drawn."""
        self.drawn += 1

    def bad(self, source: str, index: int, reason: str) -> None:
        """Record ``index`` of ``source`` is broken. Raises ``TooManyRejected`` beyond the limit."""
        self.rejected += 1
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"source": source, "index": index, "reason": reason}, ensure_ascii=False) + "\n"
            handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        seen = self.drawn + self.rejected
        allowed = self.limit * max(seen, SETTLED)
        if self.rejected > allowed + SIGMAS * math.sqrt(allowed * (1 - self.limit)):
            where = f"; all of them: {self.file}" if self.file is not None else ""
            raise TooManyRejected(
                f"{self.rejected} of {seen} records are broken, more than data.reject_limit {self.limit:g} allows; the last "
                f"is record {index} of {source}: {reason}{where}"
            )


def read_rejects(file: Path) -> list[dict[str, Any]]:
    """The different broken records in a reject file, in the order they were met; none if there is no file."""
    if not file.exists():
        return []
    lines = dict.fromkeys(file.read_text(encoding="utf-8").splitlines())
    return [json.loads(line) for line in lines if line.strip()]
