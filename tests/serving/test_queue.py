"""The queue's promises: same pictures as alone, batches of what may share one, order, limits, nobody hurt by others."""

from __future__ import annotations

import queue as threads
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mentor import MentorPipeline, Prompt
from mentor.config.sampling import GenerationSettings
from mentor.serving.jobs import Busy, Closed, Done, Event, Failed, Partial, Request
from mentor.serving.metrics import Metrics
from mentor.serving.queue import DrawingQueue
from mentor.serving.settings import ServeSettings

FOX, HAT = Prompt("a red fox"), Prompt("the hat in <image>", [Image.new("RGB", (9, 7), "blue")])


class Watched(MentorPipeline):
    """Notes the seeds of every batch, and may be held before it draws or made to fail."""

    def __init__(self, inner: MentorPipeline) -> None:
        self.__dict__ |= inner.__dict__
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Event()
        self.poison: int | None = None

    def generate(self, condition: Any, seeds: Sequence[int], *args: Any, **kwargs: Any) -> torch.Tensor:
        self.batches.append(list(seeds))
        self.started.set()
        assert self.go.wait(30)
        if self.poison in seeds:
            raise RuntimeError("a poisoned picture")
        return super().generate(condition, seeds, *args, **kwargs)


class Asked:
    """A request and what it was told."""

    def __init__(self, seeds: Sequence[int], prompt: Prompt = FOX, rows: frozenset[int] = frozenset(), **sampling: Any):
        self.told: threads.Queue[Event] = threads.Queue()
        self.request = Request(prompt, seeds, GenerationSettings(**sampling), self.told.put, rows)

    def events(self, count: int) -> list[Event]:
        return [self.told.get(timeout=30) for _ in range(count)]


@contextmanager
def drawing(pipeline: MentorPipeline, **limits: Any) -> Iterator[DrawingQueue]:
    queue = DrawingQueue(pipeline, ServeSettings(**{"max_wait": 0.0} | limits), Metrics())
    try:
        yield queue
    finally:
        queue.close(30)
        assert not queue.alive


@pytest.fixture
def watched(pipeline: MentorPipeline) -> Watched:
    return Watched(pipeline)


def hold(watched: Watched, queue: DrawingQueue) -> Asked:
    """A first request that is being drawn and does not end before ``watched.go`` is set."""
    watched.go.clear()
    first = Asked([100])
    queue.submit(first.request)
    assert watched.started.wait(30)
    return first


def test_pictures_are_those_of_the_pipeline(pipeline: MentorPipeline) -> None:
    with drawing(pipeline, max_wait=0.2) as queue:
        asked = [Asked([3, 4]), Asked([7], HAT)]
        for each in asked:
            queue.submit(each.request)
        for each in asked:
            for event in each.events(len(each.request.seeds)):
                assert isinstance(event, Done)
                alone = pipeline(each.request.prompt, seed=each.request.seeds[event.index]).images[0]
                assert np.array_equal(np.asarray(event.image), np.asarray(alone))


def test_what_waits_together_is_drawn_together_up_to_the_limit(watched: Watched) -> None:
    with drawing(watched, max_batch=3) as queue:
        first = hold(watched, queue)
        later = [Asked([1, 2]), Asked([3, 4, 5], HAT)]
        for each in later:
            queue.submit(each.request)
        watched.go.set()
        for each in (first, *later):
            each.events(len(each.request.seeds))
        assert watched.batches == [[100], [1, 2, 3], [4, 5]]


def test_the_first_picture_waits_for_others(watched: Watched) -> None:
    with drawing(watched, max_wait=30.0, max_batch=2) as queue:  # ends because the batch is full, not the time
        both = Asked([1]), Asked([2])
        for each in both:
            queue.submit(each.request)
        for each in both:
            each.events(1)
        assert watched.batches == [[1, 2]]


def test_other_settings_wait_and_are_not_overtaken(watched: Watched) -> None:
    with drawing(watched) as queue:
        hold(watched, queue)
        asked = [Asked([1]), Asked([2], temperature=0.5), Asked([3]), Asked([4], temperature=0.5)]
        for each in asked:
            queue.submit(each.request)
        watched.go.set()
        for each in asked:
            each.events(1)
        assert watched.batches == [[100], [1, 3], [2, 4]]


def test_a_full_queue_refuses_and_takes_again(watched: Watched) -> None:
    with drawing(watched, max_queue=10) as queue:
        hold(watched, queue)
        waiting = Asked(range(8))
        queue.submit(waiting.request)
        with pytest.raises(Busy, match="8 pictures wait"):
            queue.submit(Asked(range(3)).request)
        waiting.request.cancelled.set()
        after = Asked(range(10))
        queue.submit(after.request)
        watched.go.set()
        assert len(after.events(10)) == 10
        assert waiting.told.empty()


def test_nobody_waits_nothing_is_drawn_to_the_end(watched: Watched) -> None:
    with drawing(watched) as queue:
        first = hold(watched, queue)
        first.request.cancelled.set()
        second = Asked([1])
        queue.submit(second.request)
        watched.go.set()
        assert isinstance(second.events(1)[0], Done)
        assert first.told.empty()
        assert queue.metrics.registry.get_sample_value("mentor_pictures_total") == 1


def test_a_batch_goes_on_for_those_who_still_wait(watched: Watched) -> None:
    with drawing(watched) as queue:
        first = hold(watched, queue)
        gone, stays = Asked([1]), Asked([2])
        for each in (gone, stays):
            queue.submit(each.request)
        watched.started.clear()
        watched.go.set()
        assert watched.started.wait(30)
        gone.request.cancelled.set()
        assert isinstance(stays.events(1)[0], Done)
        first.events(1)


def test_one_bad_request_fails_alone(watched: Watched) -> None:
    watched.poison = 2
    with drawing(watched) as queue:
        hold(watched, queue)
        good, bad, also = Asked([1]), Asked([2, 3]), Asked([4])
        for each in (good, bad, also):
            queue.submit(each.request)
        watched.go.set()
        failed = bad.events(1)[0]
        assert isinstance(failed, Failed)
        assert "poisoned" in str(failed.error)
        assert [type(each.events(1)[0]) for each in (good, also)] == [Done, Done]
        assert bad.told.empty()
        assert queue.alive


def test_the_rest_of_a_failed_request_is_not_drawn(watched: Watched) -> None:
    watched.poison = 1
    with drawing(watched, max_batch=2) as queue:
        bad, good = Asked([1, 2, 3, 4]), Asked([9])
        queue.submit(bad.request)
        assert isinstance(bad.events(1)[0], Failed)
        queue.submit(good.request)
        assert isinstance(good.events(1)[0], Done)
        assert [3, 4] not in watched.batches


@pytest.fixture
def small(watched: Watched) -> Watched:
    """A model whose memory suffices for two pictures at a time."""
    generate = watched.generate

    def limited(condition: Any, seeds: Sequence[int], *args: Any, **kwargs: Any) -> torch.Tensor:
        if len(seeds) > 2:
            watched.batches.append(list(seeds))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(condition, seeds, *args, **kwargs)

    watched.generate = limited  # type: ignore[method-assign]
    return watched


def test_what_is_too_much_at_once_is_drawn_in_halves(small: Watched) -> None:
    with drawing(small) as queue:
        asked = Asked(range(5))
        queue.submit(asked.request)
        assert {type(event) for event in asked.events(5)} == {Done}
        assert small.batches == [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4]]
        assert queue.metrics.registry.get_sample_value("mentor_failed_pictures_total") == 0


def test_one_half_that_fails_takes_its_request_with_it(small: Watched) -> None:
    small.poison = 0
    with drawing(small) as queue:
        asked, after = Asked(range(4)), Asked([9])
        queue.submit(asked.request)
        assert isinstance(asked.events(1)[0], Failed)
        queue.submit(after.request)
        after.events(1)
        assert small.batches == [[0, 1, 2, 3], [0, 1], [9]]
        assert asked.told.empty()


def test_failures_in_a_row_are_counted_up_to_the_next_success(watched: Watched) -> None:
    watched.poison = 1
    with drawing(watched) as queue:
        seen = []
        for seed in (1, 1, 0, 1, 1, 1, 0):
            asked = Asked([seed])
            queue.submit(asked.request)
            asked.events(1)
            seen.append((queue.metrics.registry.get_sample_value("mentor_failed_batches_in_a_row"), queue.failing))
        assert seen == [(1, False), (2, False), (0, False), (1, False), (2, False), (3, True), (0, False)]


def test_unfinished_pictures_have_their_rows_and_grey_below(pipeline: MentorPipeline) -> None:
    with drawing(pipeline) as queue:
        asked = Asked([5], rows=frozenset({1, 3}))
        queue.submit(asked.request)
        one, three, done = asked.events(3)
    assert isinstance(one, Partial)
    assert isinstance(three, Partial)
    assert isinstance(done, Done)
    assert (one.rows, three.rows) == (1, 3)
    codes = pipeline.generate(pipeline.encode([FOX]), [5])
    grey = int(pipeline.image_tokenizer.encode(torch.zeros(1, 3, 8, 8)))
    for partial in (one, three):
        expected = codes.clone()
        expected[:, 4 * partial.rows :] = grey
        assert np.array_equal(np.asarray(partial.image), np.asarray(pipeline.decode(expected)[0]))


def test_giving_up_tells_those_too_whose_pictures_are_being_drawn(watched: Watched) -> None:
    queue = DrawingQueue(watched, ServeSettings(max_wait=0.0), Metrics())
    first = hold(watched, queue)
    queue.close(0, abandon=True)
    told = first.events(1)[0]
    assert isinstance(told, Failed)
    assert isinstance(told.error, Closed)
    watched.go.set()
    queue.close(30)
    assert first.told.empty()
    with pytest.raises(Closed):
        queue.check_room()


def test_a_failed_batch_holds_nothing_while_it_is_drawn_again(watched: Watched) -> None:
    """Too little memory is the usual reason: what the failed batch held must be free by then."""
    held: list[weakref.ref[Any]] = []
    alive: list[bool] = []
    generate = watched.generate

    def failing(condition: Any, seeds: Sequence[int], *args: Any, **kwargs: Any) -> torch.Tensor:
        alive.extend(each() is not None for each in held)
        large = torch.zeros(10)
        if len(seeds) > 1:
            held.append(weakref.ref(large))
            raise RuntimeError("too much")
        return generate(condition, seeds, *args, **kwargs)

    watched.generate = failing  # type: ignore[method-assign]
    with drawing(watched, max_batch=2, max_wait=30.0) as queue:
        both = Asked([1]), Asked([2])
        for each in both:
            queue.submit(each.request)
        assert all(isinstance(each.events(1)[0], Done) for each in both)
    assert alive == [False, False]


def test_closing_finishes_the_batch_and_refuses_the_rest(watched: Watched) -> None:
    queue = DrawingQueue(watched, ServeSettings(max_wait=0.0), Metrics())
    first = hold(watched, queue)
    waiting = Asked([1])
    queue.submit(waiting.request)
    closing = threading.Thread(target=queue.close)
    closing.start()
    told = waiting.events(1)[0]
    assert isinstance(told, Failed)
    assert isinstance(told.error, Closed)
    watched.go.set()
    closing.join(30)
    assert isinstance(first.events(1)[0], Done)
    with pytest.raises(Closed):
        queue.submit(Asked([2]).request)
    assert not queue.alive
