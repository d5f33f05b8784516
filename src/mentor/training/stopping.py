"""A run that is told to stop saves a checkpoint first: SIGTERM, and SIGUSR1, as Slurm sends before the time is up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(SystemExit):
    """The run was told to stop and has saved what it was; the exit status is that of a process which the signal ended."""

    def __init__(self, request: StopRequest) -> None:
        super().__init__(128 + (request.signal or signal.SIGTERM))  # another process may have got it


class StopRequest:
    """Whether a signal came to this process, and which."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, the signals are noted instead of ending the process; a second one ends it, as without this.

        Not so under a launcher, which passes on what its processes have got already: there only SIGKILL ends one sooner.
        Signals come to a process's main thread alone: elsewhere nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        for each in SIGNALS if "WORLD_SIZE" not in os.environ else ():
            signal.signal(each, signal.SIG_DFL)


def ignore_signals(worker: int = 0) -> None:
    """For data workers: a signal to all processes of a job must not take the batches away from the one that saves."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
