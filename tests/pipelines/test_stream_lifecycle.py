"""D6: a stream from opening to end: what comes out, what is finished, what is cut off, and that nothing is left."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors.pipelines import Input, OnError, Pipeline, PipelineError, Producer, Sink, Stage, StreamClosed
from supervisors import ChildSpec, open_supervisor
from supervisors.testing import seed_schedule

number = Input(int)


async def later(value: int) -> int:
    await trio.sleep(1)
    return value + 1


async def at_once(value: int) -> int:
    return value + 1


def counting(taken):
    for value in range(1000):
        taken.append(value)
        yield value


one_a_second = Pipeline("one a second", number, Stage(later, number))
quick = Pipeline("quick", number, Stage(at_once, number))


def two_places(name="two places"):
    return Pipeline(name, number, Stage(later, Stage(at_once, number), name="second", context="inline"))


# ---- to the end


async def test_D6_all_items_of_the_source_come_out_as_the_functions_give_them(autojump_clock):
    async with one_a_second.open(range(5)) as stream:
        assert [result async for result in stream] == [1, 2, 3, 4, 5]
    assert stream.report.clean
    assert (stream.report.taken, stream.report.delivered, stream.report.unread) == (5, 5, 0)


async def test_D6_stages_work_on_different_items_at_the_same_time(autojump_clock):
    first = Stage(later, number)
    pipeline = Pipeline("p", number, Stage(later, first, name="second", context="inline"))
    async with pipeline.open(range(5)) as stream:
        assert [result async for result in stream] == [2, 3, 4, 5, 6]
    assert trio.current_time() == 6  # and not ten


async def test_D6_process_sends_all_through_and_tells_how_many(autojump_clock):
    seen = []
    pipeline = Pipeline("p", number, Sink(seen.append, Stage(later, number)))
    report = await pipeline.process(range(3))
    assert seen == [1, 2, 3]
    assert (report.taken, report.delivered, report.unread, report.skipped, report.left) == (3, 3, 0, 0, 0)
    assert str(report) == "3 taken, 3 delivered in 3.000 s"


async def test_D6_process_drops_the_results_of_a_pipeline_without_a_sink(autojump_clock):
    report = await one_a_second.process(range(30), buffer=1)
    assert (report.delivered, report.unread) == (30, 30)


async def test_an_empty_source_is_over_at_once(autojump_clock):
    async with quick.open([]) as stream:
        assert [result async for result in stream] == []
    assert stream.report.taken == 0


async def test_a_pipeline_can_be_opened_by_several_at_the_same_time(autojump_clock):
    results = {}

    async def read(first):
        async with one_a_second.open(range(first, first + 3)) as stream:
            results[first] = [result async for result in stream]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, 10)
        nursery.start_soon(read, 20)
    assert results == {10: [11, 12, 13], 20: [21, 22, 23]}


# ---- sending


async def test_items_can_be_sent_one_by_one(autojump_clock):
    async with quick.open() as stream, trio.open_nursery() as nursery:

        async def send():
            for value in range(40):
                await stream.send(value)
            stream.stop_source()

        nursery.start_soon(send)
        assert [result async for result in stream] == list(range(1, 41))


async def test_several_may_send_and_several_may_read(autojump_clock):
    results = []

    async def read():
        async for result in stream:
            await trio.sleep(result % 3)
            results.append(result)

    async def send(first):
        for value in range(first, first + 20):
            await stream.send(value)

    async with quick.open(buffer=2) as stream, trio.open_nursery() as readers:
        for _ in range(3):
            readers.start_soon(read)
        async with trio.open_nursery() as senders:
            for first in (0, 20, 40):
                senders.start_soon(send, first)
        stream.stop_source()
    assert sorted(results) == list(range(1, 61))


async def test_an_item_whose_sending_was_cancelled_is_not_in_the_stream(autojump_clock):
    async with one_a_second.open(buffer=1) as stream:
        sent = 0
        with trio.move_on_after(0.5):
            while True:
                await stream.send(sent)
                sent += 1
        stream.stop_source()
        assert [result async for result in stream] == [*range(1, sent + 1)]
    assert stream.report.taken == sent


async def test_an_item_that_was_sent_is_in_the_stream_even_if_that_is_cut_off_at_once(autojump_clock):
    with pytest.raises(KeyError):
        async with one_a_second.open(buffer=1) as stream:
            sent = 0
            with trio.move_on_after(0.5):
                while True:
                    await stream.send(sent)
                    sent += 1
            raise KeyError
    assert stream.report.taken == stream.report.left == sent


async def test_sending_to_a_stream_that_was_stopped_is_refused():
    async with quick.open() as stream:
        stream.stop_source()
        with pytest.raises(StreamClosed, match="takes nothing more"):
            await stream.send(1)


async def test_who_waits_to_send_is_told_when_the_stream_is_stopped(autojump_clock):
    told = []

    async def send():
        with pytest.raises(StreamClosed):
            while True:
                await stream.send(1)
        told.append(True)

    async with trio.open_nursery() as nursery, one_a_second.open(buffer=1) as stream:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        stream.stop_source()
    assert told == [True]


async def test_sending_to_a_stream_that_has_a_source_is_a_clear_error():
    async with quick.open([1]) as stream:
        with pytest.raises(PipelineError, match="has a source"):
            await stream.send(1)


async def test_who_sends_from_elsewhere_is_told_when_the_block_is_left(autojump_clock):
    told = []

    async def send():
        try:
            while True:
                await stream.send(1)
        except StreamClosed:
            told.append(True)

    async with trio.open_nursery() as nursery, one_a_second.open() as stream:
        nursery.start_soon(send)
        await trio.sleep(3)
    assert told == [True]


# ---- stopping and leaving


async def test_stop_source_takes_nothing_more_and_the_rest_can_be_read(autojump_clock):
    taken = []
    async with one_a_second.open(counting(taken), buffer=2) as stream:
        await trio.sleep(3.5)
        stream.stop_source()
        results = [result async for result in stream]
    assert results == [value + 1 for value in taken]
    assert stream.report.taken == len(taken) < 10


async def test_D6_leaving_the_block_finishes_what_is_inside_and_takes_nothing_more(autojump_clock):
    taken, done = [], []

    async def work(value: int) -> int:
        await trio.sleep(1)
        done.append(value)
        return value

    pipeline = Pipeline("p", number, Stage(work, number))
    async with pipeline.open(counting(taken), buffer=2) as stream:
        async for _ in stream:
            break
    assert done == taken
    assert len(taken) < 10
    report = stream.report
    assert (report.taken, report.delivered, report.unread) == (len(taken), len(taken), len(taken) - 1)
    assert report.clean


async def test_leaving_the_block_does_not_wait_for_readers_who_are_slow(autojump_clock):
    async def read():
        with pytest.raises(StreamClosed, match="dropped"):
            async for _ in stream:
                await trio.sleep(1000)

    async with trio.open_nursery() as nursery:
        async with one_a_second.open(range(10), buffer=1) as stream:
            nursery.start_soon(read)
            await trio.sleep(1.5)
        assert trio.current_time() < 20


async def test_reading_after_the_block_is_a_clear_error(autojump_clock):
    async with quick.open([1]) as stream:
        pass
    with pytest.raises(StreamClosed, match="dropped its results"):
        await anext(stream)


async def test_reading_what_wait_done_has_dropped_is_a_clear_error(autojump_clock):
    async with quick.open([1]) as stream:
        await stream.wait_done()
        with pytest.raises(StreamClosed, match="from before wait_done"):
            await anext(stream)


async def test_D6_a_body_that_fails_cuts_it_off_and_its_error_comes_out_bare(autojump_clock):
    started = trio.lowlevel.current_task().parent_nursery
    with pytest.raises(KeyError) as caught:
        async with one_a_second.open(range(100)) as stream:
            await trio.sleep(2.5)
            raise KeyError(1)
    assert caught.value.__context__ is None
    assert trio.current_time() == 2.5
    report = stream.report
    assert report.left > 0
    assert report.taken == report.delivered + report.skipped + report.left
    assert "left inside" in str(report)
    assert started is trio.lowlevel.current_task().parent_nursery


async def test_D6_a_body_that_is_cancelled_cuts_it_off(autojump_clock):
    with trio.move_on_after(2.5):
        async with one_a_second.open(range(100)) as stream:
            await trio.sleep_forever()
    assert trio.current_time() == 2.5
    assert stream.report.left > 0
    assert not stream.report.clean


async def test_C8_leaving_while_cancelled_cuts_it_off(autojump_clock):
    with trio.move_on_after(2.5):
        async with one_a_second.open(range(100)) as stream:
            pass
    assert trio.current_time() < 3
    assert stream.report.taken == stream.report.delivered + stream.report.left


@pytest.mark.parametrize("way", ["end", "break", "error", "cancel", "stage error"])
async def test_D7_nothing_of_it_runs_after_the_block_however_it_ends(way, autojump_clock):
    def work(value: int) -> int:
        if way == "stage error" and value == 4:
            raise KeyError
        return value

    pipeline = Pipeline("p", number, Stage(later, Stage(work, number, concurrency=3), concurrency=2, ordered=False))
    await wait_all_tasks_blocked()
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        try:
            async with pipeline.open(range(30)) as stream:
                async for result in stream:
                    if result > 2 and way == "break":
                        break
                    if result > 2 and way == "error":
                        raise KeyError
                    if result > 2 and way == "cancel":
                        scope.cancel()
        except KeyError:
            pass
    assert stream.is_over
    assert trio.lowlevel.current_statistics().tasks_living == before


# ---- waiting


async def test_wait_done_returns_when_all_has_come_to_its_end(autojump_clock):
    async with one_a_second.open(range(3)) as stream:
        await stream.wait_done()
        assert trio.current_time() == 3
        assert stream.is_over


async def test_wait_done_leaves_the_results_to_another_task_that_reads(autojump_clock):
    results = []

    async def read():
        results.extend([result async for result in stream])

    async with one_a_second.open(range(3), buffer=1) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(0.5)
        await stream.wait_done()
        await wait_all_tasks_blocked()
        assert results == [1, 2, 3]


async def test_wait_done_in_the_loop_that_reads_drops_the_rest_instead_of_waiting_for_ever(autojump_clock):
    async with quick.open(range(100), buffer=1) as stream:
        async for _ in stream:
            break
        await stream.wait_done()
    assert stream.report.unread == 99


async def test_wait_done_from_elsewhere_tells_that_the_stream_was_cut_off(autojump_clock):
    async def wait():
        with pytest.raises(StreamClosed, match="was cut off"):
            await stream.wait_done()

    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError):
            async with one_a_second.open(range(10)) as stream:
                nursery.start_soon(wait)
                await trio.sleep(1.5)
                raise KeyError


async def test_wait_over_ends_with_the_stream_and_drops_nothing(autojump_clock):
    async with quick.open(range(3)) as stream:
        await stream.wait_over()
        assert [result async for result in stream] == [1, 2, 3]


# ---- memory


async def test_D9_a_slow_end_holds_back_the_source(autojump_clock):
    taken = []
    async with two_places().open(counting(taken), buffer=3) as stream:
        await trio.sleep(10.5)
        # Three in front of each of two places and behind them; one in each of three places.
        assert len(taken) <= stream.progress().finished + 3 * 3 + 3
        assert len(taken) < 25


async def test_D9_a_reader_who_does_not_read_holds_back_the_source(autojump_clock):
    taken = []
    async with quick.open(counting(taken), buffer=4) as stream:
        await wait_all_tasks_blocked()
        before = len(taken)
        await trio.sleep(1000)
        assert len(taken) == before <= 2 * 4 + 2
        assert stream.progress().taken == before


async def test_D9_a_branch_that_is_slow_holds_back_the_other_one(autojump_clock):
    fast_done = []

    async def fast(value: int) -> int:
        fast_done.append(value)
        return value

    async def join(one: int, two: int) -> int:
        return one + two

    pipeline = Pipeline("p", number, Stage(join, Stage(fast, number), Stage(later, number)))
    taken = []
    async with pipeline.open(counting(taken), buffer=2) as stream:
        await trio.sleep(5.5)
        assert len(fast_done) <= stream.progress().finished + 10


@pytest.mark.slow
async def test_D9_many_items_take_no_more_memory_than_few():
    import tracemalloc

    marks = []

    async def join(one: int, other: int) -> int:
        return one + other

    def look(value: int) -> None:
        if value == 1001:
            tracemalloc.reset_peak()
            marks.append(tracemalloc.get_traced_memory()[0])

    first = Stage(at_once, number, concurrency=2)
    joined = Stage(join, first, number, ordered=False, concurrency=2)
    pipeline = Pipeline("p", number, Sink(look, joined, context="inline"))
    tracemalloc.start()
    try:
        await pipeline.process(range(4000))
        marks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert marks[1] - marks[0] < 200_000


# ---- inside


async def test_the_places_are_supervised_children(autojump_clock):
    async with two_places().open(range(100)) as stream:
        await trio.sleep(1)
        tree = str(stream.tree())
    assert [line.split()[0] for line in tree.splitlines()] != []
    for name in ("two places", "input", "at_once", "second"):
        assert name in tree
    assert "running" in tree


async def test_a_supervised_child_that_is_asked_to_drain_finishes_what_is_inside_its_stream(autojump_clock):
    taken, done = [], []

    async def work(value: int) -> int:
        await trio.sleep(1)
        done.append(value)
        return value

    pipeline = Pipeline("p", number, Stage(work, number))
    reports = []

    async def serve():
        async with pipeline.open(counting(taken), buffer=2) as stream:
            async for _ in stream:
                pass
        reports.append(stream.report)

    async with open_supervisor([ChildSpec("serve", serve, shutdown=60)]) as supervisor:
        await trio.sleep(3.5)
        await supervisor.drain()
    assert done == taken
    assert len(done) < 10
    assert reports[0].clean


async def test_C8_process_in_a_supervised_child_that_is_asked_to_drain_finishes_too(autojump_clock):
    done = []

    async def work(value: int) -> None:
        await trio.sleep(1)
        done.append(value)

    pipeline = Pipeline("p", number, Sink(work, number))
    taken = []
    async with open_supervisor([ChildSpec("work", pipeline.process, counting(taken), shutdown=60)]) as supervisor:
        await trio.sleep(3.5)
        await supervisor.drain()
    assert done == taken
    assert len(done) < 40


async def test_C8_the_grace_of_the_child_around_it_bounds_its_drain(autojump_clock):
    reports = []

    async def serve():
        try:
            async with one_a_second.open(range(1000)) as stream:
                await stream.wait_done()
        finally:
            reports.append(stream.report)

    async with open_supervisor([ChildSpec("serve", serve, shutdown=5)]) as supervisor:
        await trio.sleep(3.5)
        await supervisor.drain()
    assert trio.current_time() == pytest.approx(8.5)
    assert reports[0].left > 0
    assert reports[0].delivered == 8


# ---- at the door


async def test_a_source_that_cannot_be_iterated_over_is_refused_before_anything_runs():
    with pytest.raises(PipelineError, match="must be something to iterate over"):
        async with quick.open(5):  # type: ignore[arg-type]
            pass


async def test_to_process_without_a_source_is_refused_instead_of_waiting_for_ever():
    with pytest.raises(PipelineError, match=r"process of pipeline .* needs a source"):
        await quick.process()


async def test_a_pipeline_with_a_producer_takes_no_source():
    numbers = Producer(lambda: range(3), name="numbers")
    pipeline = Pipeline("p", numbers, Stage(at_once, numbers))
    with pytest.raises(PipelineError, match="open it without a source"):
        async with pipeline.open([1]):
            pass


@pytest.mark.parametrize(("buffer", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
async def test_a_buffer_is_a_whole_number_from_one(buffer, error):
    with pytest.raises(error, match="buffer"):
        async with quick.open([1], buffer=buffer):
            pass


async def test_a_skipped_item_is_on_record(autojump_clock):
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(value)
        return value

    pipeline = Pipeline("p", number, Stage(odd, number, on_error=OnError.SKIP))
    async with pipeline.open(range(6)) as stream:
        assert [result async for result in stream] == [1, 3, 5]
    assert [(one.stage, one.args, one.items) for one in stream.skipped] == [("odd", (n,), 1) for n in (0, 2, 4)]
    assert all(isinstance(one.error, ValueError) for one in stream.skipped)
    assert stream.report.skipped == 3
    assert "3 skipped" in str(stream.report)


@pytest.mark.parametrize("seed", range(8))
async def test_a_reader_that_was_started_just_before_is_one_that_reads(seed):
    async def main():
        results = []

        async def read():
            results.extend([result async for result in stream])

        async with quick.open(range(3)) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await stream.wait_done()
        return results

    with seed_schedule(seed):
        assert await trio.to_thread.run_sync(trio.run, main) == [1, 2, 3]
