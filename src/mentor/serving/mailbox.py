"""What the drawing thread tells whoever asked, on its way into the event loop."""

from __future__ import annotations

import asyncio

from mentor.serving.jobs import Event, Failed


class Mailbox:
    """Holds a request's events until they are fetched; of each picture only the newest that is unfinished.

    Whoever reads slowly, or not at all, would else keep every unfinished picture in memory.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._kept: dict[tuple[type[Event], int], Event] = {}
        self._came = asyncio.Event()
        self._closed = False

    def put(self, event: Event) -> None:
        """Takes an event, from any thread."""
        self._loop.call_soon_threadsafe(self._keep, event)

    def _keep(self, event: Event) -> None:
        if self._closed:
            return
        self._kept[type(event), -1 if isinstance(event, Failed) else event.index] = event
        self._came.set()

    async def next(self, seconds: float) -> Event | None:
        """The event that has waited longest; None where ``seconds`` went by without one."""
        try:
            async with asyncio.timeout(seconds):
                await self._came.wait()
        except TimeoutError:
            return None
        event = self._kept.pop(next(iter(self._kept)))
        if not self._kept:
            self._came.clear()
        return event

    def close(self) -> None:
        """Lets go of everything that was not fetched, and of what still comes: the request outlives its asker for a while."""
        self._closed = True
        self._kept.clear()
