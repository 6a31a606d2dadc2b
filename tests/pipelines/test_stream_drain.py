"""C8: a drain of a stream takes nothing more, finishes what is inside, and tells what is left when there is no time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors.pipelines import Input, Pipeline, Sink, Stage, StreamClosed
from supervisors import ChildSpec, Restart, open_supervisor

number = Input(int)
done: list[int] = []


async def work(value: int) -> int:
    await trio.sleep(1)
    done.append(value)
    return value


async def same(value: int) -> int:
    return value


@pytest.fixture(autouse=True)
def nothing_done():
    done.clear()


def counting(taken):
    for value in range(1000):
        taken.append(value)
        yield value


PIPELINE = Pipeline("p", number, Stage(work, Stage(same, number), context="inline"))


async def test_C8_a_drain_takes_nothing_more_and_finishes_what_is_inside(autojump_clock):
    taken = []
    async with PIPELINE.open(counting(taken), buffer=2) as stream:
        await trio.sleep(3.5)
        before = len(taken)
        report = await stream.drain()
        assert done == taken
        assert len(taken) == before
    assert report == stream.report
    assert report.clean
    assert (report.taken, report.delivered) == (before, before)


async def test_C8_what_is_left_when_its_time_is_over_is_cancelled_and_counted(autojump_clock):
    async with PIPELINE.open(range(1000), buffer=2) as stream:
        await trio.sleep(3.5)
        report = await stream.drain(2)
        assert trio.current_time() == 5.5
    assert not report.clean
    assert report.delivered == len(done) == 5
    assert report.taken == report.delivered + report.left
    assert stream.report == report


async def test_C8_another_task_that_reads_gets_all_results_of_a_drain(autojump_clock):
    results = []

    async def read():
        async for result in stream:
            await trio.sleep(0.3)
            results.append(result)

    async with PIPELINE.open(range(1000), buffer=2) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(3.5)
        report = await stream.drain()
    assert results == list(range(report.taken))
    assert stream.report.unread == 0


async def test_C8_a_drain_in_the_loop_that_reads_drops_the_rest_instead_of_waiting_for_ever(autojump_clock):
    async with PIPELINE.open(range(1000), buffer=1) as stream:
        async for _ in stream:
            report = await stream.drain()
            break
    assert report.clean
    assert report.unread == report.delivered - 1 > 0


async def test_C8_several_may_drain_and_get_the_same_report(autojump_clock):
    reports = []

    async def drain(timeout):
        reports.append(await stream.drain(timeout))

    async with PIPELINE.open(range(1000)) as stream, trio.open_nursery() as nursery:
        await trio.sleep(3.5)
        nursery.start_soon(drain, None)
        nursery.start_soon(drain, 1)
    assert trio.current_time() == 4.5
    assert reports[0] == reports[1]


async def test_C8_who_waits_for_its_end_is_told_that_a_drain_had_no_time(autojump_clock):
    async def wait():
        with pytest.raises(StreamClosed, match=r"cut off.*left inside"):
            await stream.wait_done()

    async with PIPELINE.open(range(1000)) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(3.5)
        await stream.drain(1)


async def test_C8_sending_to_a_stream_that_drains_is_refused_and_what_was_sent_is_finished(autojump_clock):
    sent = []

    async def send():
        with pytest.raises(StreamClosed):
            for value in range(1000):
                await stream.send(value)
                sent.append(value)

    async with PIPELINE.open(buffer=2) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(3.5)
        await stream.drain()
    assert done == sent


async def test_a_drain_of_a_stream_that_is_over_changes_nothing(autojump_clock):
    async with PIPELINE.open(range(3)) as stream:
        await stream.wait_done()
        before = stream.report
        await trio.sleep(5)
        assert await stream.drain() == before


async def test_a_cancelled_drain_goes_on_without_its_caller(autojump_clock):
    async with PIPELINE.open(range(1000), buffer=2) as stream:
        await trio.sleep(3.5)
        with trio.move_on_after(1):
            await stream.drain()
    assert stream.report.clean
    assert len(done) < 10


async def test_C8_the_source_is_stopped_first_and_the_end_last(autojump_clock):
    order = []

    async def slow_sink(value: int) -> None:
        await trio.sleep(2)
        order.append(("sink", value))

    pipeline = Pipeline("p", number, Sink(slow_sink, Stage(work, number), context="inline"))
    async with pipeline.open(counting(order), buffer=1) as stream:
        await trio.sleep(4.5)
        await stream.drain()
    taken = [one for one in order if not isinstance(one, tuple)]
    assert [one for one in order if isinstance(one, tuple)] == [("sink", value) for value in taken]


async def test_C8_nested_in_a_child_the_drain_is_within_its_grace_and_reported(autojump_clock):
    async def serve():
        async with PIPELINE.open(range(1000), buffer=2) as stream:
            await stream.wait_done()

    async with open_supervisor([ChildSpec("serve", serve, shutdown=100)], name="service") as supervisor:
        await trio.sleep(3.5)
        report = await supervisor.drain()
    assert report.clean
    assert done == list(range(len(done)))
    assert 3 < trio.current_time() < 15


async def test_a_stream_that_waits_for_items_to_be_sent_ends_at_once_when_the_child_around_it_drains(autojump_clock):
    async def serve():
        async with PIPELINE.open() as stream:
            async for _ in stream:
                pass

    async with open_supervisor([ChildSpec("serve", serve, shutdown=100)]) as supervisor:
        await wait_all_tasks_blocked()
        await supervisor.drain()
    assert trio.current_time() == 0


async def test_C8_cancelling_during_a_drain_cuts_it_off(autojump_clock):
    with trio.move_on_after(5):
        async with PIPELINE.open(range(1000)) as stream:
            await trio.sleep(3.5)
            await stream.drain()
    assert trio.current_time() == 5
    assert stream.report.left > 0


@pytest.mark.parametrize("passes", range(12))
async def test_C8_a_drain_while_a_stream_opens_ends_it_too(passes, autojump_clock):
    refused = []

    async def serve():
        first = Stage(same, number, context="inline")
        second = Stage(same, first, name="second", context="inline")
        third = Stage(same, second, name="third", context="inline")
        try:
            await Pipeline("p", number, third).process(range(3))
        except StreamClosed as error:
            refused.append(str(error))

    with trio.fail_after(1000):
        async with open_supervisor([ChildSpec("serve", serve, restart=Restart.TEMPORARY, shutdown=2000)]) as supervisor:
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            await supervisor.drain()
    assert refused in ([], ["pipeline 'p' was not opened: what is around it was asked to drain before"])


async def test_C8_who_reads_comes_to_an_end_when_a_drain_had_no_time(autojump_clock):
    results = []

    async def read():
        results.extend([result async for result in stream])

    async with PIPELINE.open(range(1000)) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(3.5)
        report = await stream.drain(1)
    assert results == list(range(report.delivered))
    assert report.left > 0
