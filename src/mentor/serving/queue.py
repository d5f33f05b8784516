"""The queue before the model: one thread draws, and pictures that wait together are drawn side by side.

A picture depends on its prompt, its seed and its settings, not on those beside it, so any that share their sampling settings
may share a batch, whoever asked for them. The picture that has waited longest is always in the next batch.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from mentor.generation.pipeline import MentorPipeline
from mentor.nn.device import out_of_memory
from mentor.serving.jobs import Busy, Closed, Done, Failed, Partial, Request
from mentor.serving.metrics import Metrics
from mentor.serving.settings import ServeSettings

FAILING = 3
"""After so many failed batches in a row the model itself is to blame, such as a GPU that answers nothing but errors."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Picture:
    request: Request
    index: int
    since: float

    @property
    def unwanted(self) -> bool:
        return self.request.cancelled.is_set()

    def wants(self, rows: int) -> bool:
        """Whether it is to be shown after so many rows."""
        request = self.request
        return rows in request.partial_rows and (self.index, rows) not in request.shown and not self.unwanted


class _Abandoned(Exception):
    """Nobody waits for any picture of the batch."""


class DrawingQueue:
    """Draws what is submitted, in its own thread, until ``close``."""

    def __init__(self, pipeline: MentorPipeline, settings: ServeSettings, metrics: Metrics) -> None:
        self.pipeline, self.settings, self.metrics = pipeline, settings, metrics
        self._waiting: deque[_Picture] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._drawing: list[_Picture] = []
        self._seconds = 1.0  # of a picture, lately
        self._failed = 0  # batches, since the last that did not
        self._thread = threading.Thread(target=self._run, name="mentor-drawing", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether pictures are still being drawn."""
        return self._thread.is_alive() and not self._closed

    @property
    def failing(self) -> bool:
        """Whether the last ``FAILING`` batches all failed; what is submitted is still tried."""
        return self._failed >= FAILING

    def submit(self, request: Request) -> None:
        """Takes a request whose prompt was checked (``pipeline.processor.check``).

        Raises:
            Busy: ``max_queue`` pictures wait already, or would.
            Closed: the server is stopping.
        """
        now = time.monotonic()
        with self._changed:
            self._check_room(len(request.seeds))
            self._waiting.extend(_Picture(request, index, now) for index in range(len(request.seeds)))
            self.metrics.waiting.set(len(self._waiting))
            self._changed.notify()

    def check_room(self) -> None:
        """Raises ``Busy`` or ``Closed`` where not even one picture would be taken."""
        with self._changed:
            self._check_room(1)

    def _check_room(self, pictures: int) -> None:
        if not self.alive:
            raise Closed("the server is stopping")
        self._forget_unwanted()
        waiting = len(self._waiting)
        if waiting + pictures > self.settings.max_queue:
            seconds = min(60, max(1, round(waiting * self._seconds)))
            raise Busy(f"{waiting} pictures wait already: try again in {seconds} s", seconds)

    def close(self, timeout: float | None = None, *, abandon: bool = False) -> None:
        """Finishes the batch at hand (``abandon``: gives it up), refuses the rest, waits for the thread ``timeout`` seconds."""
        with self._changed:
            self._closed = True
            rest, self._waiting = [*self._waiting, *(self._drawing if abandon else ())], deque()
            self.metrics.waiting.set(0)
            self._changed.notify()
        for request in {picture.request for picture in rest}:
            request.tell(Failed(Closed("the server is stopping")))
            request.cancelled.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while batch := self._next_batch():
            self._draw(batch)
            self._drawing = []

    def _next_batch(self) -> list[_Picture]:
        """The oldest picture and those after it with the same settings; waits for them; empty once closed."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._waiting:
                    left = self._waiting[0].since + self.settings.max_wait - time.monotonic()
                    self._changed.wait_for(self._is_full, max(0.0, left))
                self._forget_unwanted()
                if self._waiting:
                    return self._take()
            return []

    def _is_full(self) -> bool:
        return self._closed or len(self._waiting) >= self.settings.max_batch

    def _take(self) -> list[_Picture]:
        settings = self._waiting[0].request.settings
        batch: list[_Picture] = []
        rest: deque[_Picture] = deque()
        for picture in self._waiting:
            fits = picture.request.settings == settings and len(batch) < self.settings.max_batch
            (batch if fits else rest).append(picture)
        self._waiting, self._drawing = rest, batch
        self.metrics.waiting.set(len(rest))
        return batch

    def _forget_unwanted(self) -> None:
        self._waiting = deque(picture for picture in self._waiting if not picture.unwanted)
        self.metrics.waiting.set(len(self._waiting))

    def _draw(self, batch: list[_Picture]) -> None:
        started = time.monotonic()
        failure: Exception | None = None
        try:
            images = self._images(batch)
        except _Abandoned:
            return
        except Exception as error:  # noqa: BLE001 - one request must not stop the server; whoever asked is told
            # As text: a traceback, here or in a log's record, would hold the tensors of the batch.
            log.error("a batch of %d failed\n%s", len(batch), traceback.format_exc())
            failure = error.with_traceback(None)
        if failure is not None:
            self._fail(batch, failure)
            return
        seconds = time.monotonic() - started
        self._seconds += 0.3 * (seconds / len(batch) - self._seconds)
        self._note_failures(0)
        self.metrics.batch_pictures.observe(len(batch))
        self.metrics.batch_seconds.observe(seconds)
        self.metrics.pictures.inc(len(batch))
        for picture, image in zip(batch, images, strict=True):
            picture.request.tell(Done(picture.index, image))

    def _fail(self, batch: list[_Picture], failure: Exception) -> None:
        parts = _halves(batch) if out_of_memory(failure) else _by_request(batch)
        if len(parts) > 1:
            for part in parts:
                self._draw(part)
            return
        request = batch[0].request
        self.metrics.failures.inc(len(batch))
        self._note_failures(self._failed + 1)
        with self._changed:
            request.cancelled.set()
            self._forget_unwanted()
        request.tell(Failed(failure))

    def _note_failures(self, in_a_row: int) -> None:
        self._failed = in_a_row
        self.metrics.failed_in_a_row.set(in_a_row)

    def _images(self, batch: list[_Picture]) -> list[Image.Image]:
        _stop_if_unwanted(batch)  # part of a failed batch, whose request has failed with another part
        prompts = list(dict.fromkeys(picture.request for picture in batch))
        condition = self.pipeline.encode([request.prompt for request in prompts])
        codes = self.pipeline.generate(
            condition.rows([prompts.index(picture.request) for picture in batch]),
            [picture.request.seeds[picture.index] for picture in batch],
            batch[0].request.settings,
            on_token=lambda done, total: _stop_if_unwanted(batch),
            on_row=lambda tokens: self._show(batch, tokens),
        )
        return self.pipeline.decode(codes)

    def _show(self, batch: list[_Picture], tokens: Tensor) -> None:
        rows = tokens.shape[1] // self.pipeline.config.decoder.grid
        shown = [i for i, each in enumerate(batch) if each.wants(rows)]
        if shown:
            for i, image in zip(shown, self.pipeline.decode(tokens[shown]), strict=True):
                batch[i].request.shown.add((batch[i].index, rows))
                batch[i].request.tell(Partial(batch[i].index, rows, image))


def _stop_if_unwanted(batch: Sequence[_Picture]) -> None:
    if all(picture.unwanted for picture in batch):
        raise _Abandoned


def _by_request(batch: Sequence[_Picture]) -> list[list[_Picture]]:
    """One of them is to blame, the others shall not suffer for it."""
    requests = dict.fromkeys(picture.request for picture in batch)
    return [[picture for picture in batch if picture.request is request] for request in requests]


def _halves(batch: list[_Picture]) -> list[list[_Picture]]:
    """All together were too many, whoever asked for them."""
    middle = len(batch) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]
