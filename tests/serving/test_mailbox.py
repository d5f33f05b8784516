"""Events on their way to whoever asked: in order, and unfinished pictures do not pile up."""

from __future__ import annotations

import asyncio
import threading

from PIL import Image

from mentor.serving.jobs import Done, Event, Failed, Partial
from mentor.serving.mailbox import Mailbox

GREY = Image.new("RGB", (1, 1))


def fetched(*events: Event) -> list[Event | None]:
    """What comes out after another thread has put all of ``events`` in, up to the first None."""

    async def run() -> list[Event | None]:
        mailbox = Mailbox()
        thread = threading.Thread(target=lambda: [mailbox.put(event) for event in events])
        thread.start()
        thread.join()
        out = [await mailbox.next(0.01)]
        while out[-1] is not None:
            out.append(await mailbox.next(0.01))
        return out

    return asyncio.run(run())


def test_of_each_picture_the_newest_unfinished_one_is_kept() -> None:
    told: list[Event] = [Partial(index, rows, GREY) for rows in range(1, 9) for index in (0, 1)]
    assert fetched(*told, Done(0, GREY)) == [*told[-2:], Done(0, GREY), None]


def test_no_finished_picture_is_lost() -> None:
    failed = Failed(RuntimeError())
    assert fetched(Done(1, GREY), Done(0, GREY), failed) == [Done(1, GREY), Done(0, GREY), failed, None]


def test_once_closed_it_holds_nothing() -> None:
    async def run() -> dict[object, Event]:
        mailbox = Mailbox()
        mailbox.put(Done(0, GREY))
        await asyncio.sleep(0)
        mailbox.close()
        mailbox.put(Done(1, GREY))
        await asyncio.sleep(0)
        return dict(mailbox._kept)

    assert asyncio.run(run()) == {}


def test_nothing_is_told_by_none() -> None:
    assert fetched() == [None]
