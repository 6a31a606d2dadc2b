"""D5: batches: so many items as one, or those that came in so many seconds, or what is left at the end."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio

from spaceactors.pipelines import Batch, Input, OnError, Pipeline, Producer, Sink, Stage
from spaceactors.pipelines._items import Item
from spaceactors.pipelines._straight import AT_A_STRETCH
from spaceactors.pipelines._workers import _gather_more
from supervisors import ChildSpec, open_supervisor

number = Input(int)


async def same(value: int) -> int:
    return value


async def one_a_second():
    for value in range(6):
        yield value
        await trio.sleep(1)


def batches(size, max_wait=None):
    return Pipeline("p", number, Batch(Stage(same, number), size, max_wait))


async def test_D5_a_batch_is_as_many_items_as_it_says_and_the_last_one_what_is_left(autojump_clock):
    async with batches(3).open(range(7)) as stream:
        assert [result async for result in stream] == [(0, 1, 2), (3, 4, 5), (6,)]
    report = stream.report
    assert (report.taken, report.delivered, report.unread) == (7, 7, 0)


async def test_D5_a_batch_goes_on_when_its_first_item_has_waited_long_enough(autojump_clock):
    times = []
    async with batches(100, 1.5).open(one_a_second()) as stream:
        times.extend([(trio.current_time(), result) async for result in stream])
    assert times == [(1.5, (0, 1)), (3.5, (2, 3)), (5.5, (4, 5))]


async def test_a_batch_that_may_not_wait_takes_what_is_there(autojump_clock):
    async with batches(100, 0).open(one_a_second()) as stream:
        assert [result async for result in stream] == [(value,) for value in range(6)]

    async def slow(value: tuple[int, ...]) -> tuple[int, ...]:
        await trio.sleep(1)
        return value

    pipeline = Pipeline("p", number, Stage(slow, Batch(number, 4, 0)))
    async with pipeline.open(range(100), buffer=2) as stream:
        results = [result async for result in stream]
    assert [value for result in results for value in result] == list(range(100))
    assert max(map(len, results)) > 1


async def test_a_full_batch_does_not_wait(autojump_clock):
    async with batches(2, 100).open(range(6)) as stream:
        assert [result async for result in stream] == [(0, 1), (2, 3), (4, 5)]
    assert trio.current_time() == 0


async def test_without_a_time_a_batch_waits_for_its_items(autojump_clock):
    async with batches(3).open(one_a_second()) as stream:
        assert await anext(stream) == (0, 1, 2)
        assert trio.current_time() == 2


async def test_C8_a_drain_finishes_the_batch_that_is_not_full(autojump_clock):
    seen = []

    async def forever():
        for value in range(1000):
            yield value
            await trio.sleep(1)

    pipeline = Pipeline("p", number, Sink(seen.append, Batch(number, 4)))
    async with open_supervisor([ChildSpec("work", pipeline.process, forever(), shutdown=60)]) as supervisor:
        await trio.sleep(5.5)
        await supervisor.drain()
    assert seen == [(0, 1, 2, 3), (4, 5)]
    assert trio.current_time() == 5.5


async def test_leaving_the_block_finishes_the_batch_that_is_not_full(autojump_clock):
    seen = []
    pipeline = Pipeline("p", number, Sink(seen.append, Batch(number, 4)))
    async with pipeline.open() as stream:
        for value in range(6):
            await stream.send(value)
    assert seen == [(0, 1, 2, 3), (4, 5)]


async def test_batches_of_batches_count_all_their_items(autojump_clock):
    pipeline = Pipeline("p", number, Batch(Batch(number, 2), 2, name="outer"))
    async with pipeline.open(range(7)) as stream:
        assert [result async for result in stream] == [((0, 1), (2, 3)), ((4, 5), (6,))]
    assert stream.report.delivered == 7


async def test_a_batch_that_is_skipped_counts_as_all_its_items(autojump_clock):
    async def fail(values: tuple[int, ...]) -> int:
        if 2 in values:
            raise ValueError
        return sum(values)

    pipeline = Pipeline("p", number, Stage(fail, Batch(number, 3), on_error=OnError.SKIP))
    async with pipeline.open(range(7)) as stream:
        assert [result async for result in stream] == [12, 6]
    report = stream.report
    assert (report.taken, report.delivered, report.skipped, report.left) == (7, 4, 3, 0)
    assert [(one.args, one.items) for one in stream.skipped] == [(((0, 1, 2),), 3)]


async def test_what_was_skipped_before_a_batch_is_not_in_it(autojump_clock):
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError
        return value

    pipeline = Pipeline("p", number, Batch(Stage(odd, number, on_error=OnError.SKIP), 2))
    async with pipeline.open(range(7)) as stream:
        assert [result async for result in stream] == [(1, 3), (5,)]
    report = stream.report
    assert (report.taken, report.delivered, report.skipped) == (7, 3, 4)


async def test_two_stages_of_one_batch_meet_again(autojump_clock):
    batch = Batch(number, 2)

    async def total(values: tuple[int, ...]) -> int:
        return sum(values)

    async def join(one: int, other: int) -> tuple[int, int]:
        return one, other

    pipeline = Pipeline("p", number, Stage(join, Stage(total, batch), Stage(len, batch)))
    async with pipeline.open(range(5)) as stream:
        assert [result async for result in stream] == [(1, 2), (5, 2), (4, 1)]


async def test_a_batch_of_what_a_producer_gives_directly(autojump_clock):
    numbers = Producer(lambda: range(5), name="numbers")
    async with Pipeline("p", numbers, Batch(numbers, 2)).open() as stream:
        assert [result async for result in stream] == [(0, 1), (2, 3), (4,)]


@pytest.mark.parametrize("size", [1, 16, 17, 40])
async def test_a_batch_may_be_larger_than_the_buffers(size, autojump_clock):
    async with batches(size).open(range(40), buffer=1) as stream:
        results = [result async for result in stream]
    assert [value for result in results for value in result] == list(range(40))
    assert {len(result) for result in results[:-1]} <= {size}


async def test_a_batch_that_fails_to_fill_when_cut_off_is_left_inside(autojump_clock):
    with trio.move_on_after(2.5):
        async with batches(100).open(one_a_second()) as stream:
            await stream.wait_done()
    report = stream.report
    assert (report.taken, report.delivered, report.left) == (3, 0, 3)


async def test_law_8_others_run_at_least_once_in_64_items_of_a_batch():
    """As where a slow stage behind has let a large buffer fill."""
    send, receive = trio.open_memory_channel[Item](1000)
    gathered, seen = [Item([], [], 1)], []
    for _ in range(999):
        send.send_nowait(Item([], [], 1))

    async def look():
        while True:
            seen.append(len(gathered))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await _gather_more(receive, gathered, 1000)
        nursery.cancel_scope.cancel()
    # Who goes first in a pass of the scheduler is drawn by lot.
    assert max(after - before for before, after in pairwise([1, *seen, 1000])) <= 2 * AT_A_STRETCH
