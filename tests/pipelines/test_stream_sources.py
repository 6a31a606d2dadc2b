"""D5: where items come from: whatever can be iterated over, here or in a thread, until it ends or is stopped."""

from __future__ import annotations

import threading
from contextlib import aclosing, contextmanager, suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors.pipelines import Input, OnError, Pipeline, Producer, Sink, Stage

number = Input(int)


async def same(value: int) -> int:
    return value


async def later(value: int) -> int:
    await trio.sleep(1)
    return value


async def async_numbers():
    for value in range(5):
        await trio.sleep(1)
        yield value


class AsyncNumbers:
    """An async iterator without `aclose`."""

    def __init__(self):
        self.next = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        await trio.sleep(1)
        if self.next == 5:
            raise StopAsyncIteration
        self.next += 1
        return self.next - 1


class Numbers:
    def __iter__(self):
        return iter(range(5))


def generated():
    yield from range(5)


SOURCES = [lambda: [0, 1, 2, 3, 4], lambda: range(5), Numbers, generated, async_numbers, AsyncNumbers]


@pytest.mark.parametrize("make", SOURCES)
async def test_D5_whatever_can_be_iterated_over_is_a_source(make, autojump_clock):
    pipeline = Pipeline("p", number, Stage(same, number))
    async with pipeline.open(make()) as stream:
        assert [result async for result in stream] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("ends", ["in a stage", "in a sink"])
async def test_D5_and_so_is_whatever_a_producer_gives(make, ends, autojump_clock):
    seen = []
    numbers = Producer(make, name="numbers")
    stage = Stage(same, numbers)
    pipeline = Pipeline("p", numbers, stage if ends == "in a stage" else Sink(seen.append, stage, name="end"))
    async with pipeline.open() as stream:
        if ends == "in a stage":
            seen.extend([result async for result in stream])
        else:
            await stream.wait_done()
    assert seen == [0, 1, 2, 3, 4]


async def test_D5_a_producer_is_called_anew_for_each_stream(autojump_clock):
    numbers = Producer(lambda: iter([1, 2]), name="numbers")
    pipeline = Pipeline("p", numbers, Stage(same, numbers))
    for _ in range(2):
        async with pipeline.open() as stream:
            assert [result async for result in stream] == [1, 2]


async def test_a_memory_channel_is_a_source(autojump_clock):
    send, receive = trio.open_memory_channel(0)

    async def fill():
        async with send:
            for value in range(3):
                await send.send(value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill)
        async with Pipeline("p", number, Stage(same, number)).open(receive) as stream:
            assert [result async for result in stream] == [0, 1, 2]


# ---- stopping


async def test_stopping_cuts_off_what_an_async_source_waits_for(autojump_clock):
    async def one_then_nothing():
        yield 1
        await trio.sleep_forever()

    async with Pipeline("p", number, Stage(same, number)).open(one_then_nothing()) as stream:
        assert await anext(stream) == 1
        stream.stop_source()
        assert [result async for result in stream] == []


async def test_stopping_ends_an_async_source_that_never_waits(autojump_clock):
    async def endless():
        value = 0
        while True:
            yield value
            value += 1

    async with Pipeline("p", number, Stage(same, number)).open(endless()) as stream:
        assert await anext(stream) == 0
        stream.stop_source()
        rest = [result async for result in stream]
    assert rest == list(range(1, stream.report.taken))


@pytest.mark.parametrize("wait", ["never", "always", "perhaps"])
async def test_a_stage_that_stops_the_source_gets_no_further_item_on_the_straight_way(wait):
    seen = []

    def plain(value: int) -> None:
        look(value)

    async def waiting(value: int) -> None:
        look(value)

    def look(value):
        seen.append(value)
        if value == 100:
            stream.stop_source()

    fn = {"never": plain, "always": waiting, "perhaps": look}[wait]
    numbers = Producer(lambda: range(1000), name="numbers")
    async with Pipeline("p", numbers, Sink(fn, numbers)).open() as stream:
        await stream.wait_done()
    assert seen == list(range(101))
    assert stream.report.delivered == stream.report.taken == 101


async def test_another_task_stops_the_straight_way_between_two_items(autojump_clock):
    seen = []

    async def look(value: int) -> None:
        seen.append(value)
        await trio.sleep(1)

    numbers = Producer(lambda: range(1000), name="numbers")
    async with Pipeline("p", numbers, Sink(look, numbers)).open() as stream:
        await trio.sleep(3.5)
        stream.stop_source()
    assert seen == [0, 1, 2, 3]


async def test_others_run_while_the_straight_way_goes_on():
    turns = 0

    async def other():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    numbers = Producer(lambda: range(6400), name="numbers")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await Pipeline("p", numbers, Sink(id, numbers)).process()
        nursery.cancel_scope.cancel()
    assert turns >= 100


async def test_the_straight_way_can_be_cancelled_where_no_function_waits():
    seen = []

    def look(value: int) -> None:
        seen.append(value)
        if value == 1000:
            scope.cancel()

    numbers = Producer(lambda: range(10**9), name="numbers")
    with trio.CancelScope() as scope:
        await Pipeline("p", numbers, Sink(look, numbers)).process()
    assert 1000 < len(seen) <= 1001 + 5 * 64  # a few passes of the scheduler later, for it is cut off in order


async def test_a_source_whose_items_are_all_skipped_at_once_lets_others_run():
    def never(value: int) -> int:
        raise ValueError(value)

    numbers = Producer(lambda: range(10**9), name="numbers")
    pipeline = Pipeline("p", numbers, Sink(never, numbers, on_error=OnError.SKIP))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.process)
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


# ---- closing


@contextmanager
def noting(events, name="source"):
    events.append(f"{name} opened")
    try:
        yield
    finally:
        events.append(f"{name} closed")


@pytest.mark.parametrize("way", ["end", "stop", "leave", "fail", "cancel"])
@pytest.mark.parametrize("kind", ["sync", "async", "thread"])
@pytest.mark.parametrize("straight", [True, False])
async def test_a_generator_is_closed_with_the_stream_however_that_ends(kind, way, straight):
    events = []

    def generate():
        with noting(events):
            yield from range(1000)

    async def generate_async():
        with noting(events):
            for value in range(1000):
                yield value

    def look(value: int) -> None:
        if value == 20:
            {"stop": stream.stop_source, "cancel": scope.cancel, "fail": {}.popitem}.get(way, int)()

    numbers = Producer(generate_async if kind == "async" else generate, context="thread" if kind == "thread" else None)
    stage = numbers if straight else Stage(same, numbers, context="inline")
    sink = Sink(look, stage, context="inline" if kind == "thread" else None)
    with trio.CancelScope() as scope, suppress(KeyError):
        async with Pipeline("p", numbers, sink).open() as stream:
            if way != "leave":
                await stream.wait_done()
    if events:  # one that was never begun need not be closed
        assert events == ["source opened", "source closed"]
    assert events or way == "leave"


async def test_what_a_producer_opened_is_closed_and_what_a_user_gave_is_not(tmp_path, autojump_clock):
    path = tmp_path / "lines"
    path.write_text("one\ntwo\n")
    opened = []

    def lines():
        opened.append(path.open())
        return opened[0]

    produced = Producer(lines)
    await Pipeline("p", produced, Sink(same, produced)).process()
    assert opened[0].closed
    with path.open() as file:
        await Pipeline("p", number, Sink(same, number)).process(file)  # type: ignore[arg-type]
        assert not file.closed


# ---- producers with tasks and scopes of their own


async def ticking():
    """Give what a task of its own makes: the nursery stays open across its yields."""
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel(0)

        async def tick():
            for value in range(5):
                await trio.sleep(1)
                await send.send(value)
            await send.aclose()

        nursery.start_soon(tick)
        async for value in receive:
            yield value


async def for_a_while():
    with trio.move_on_after(3.5):
        value = 0
        while True:
            await trio.sleep(1)
            yield value
            value += 1


@pytest.mark.parametrize("straight", [True, False])
async def test_a_producer_may_hold_a_nursery_across_its_yields(straight, autojump_clock):
    seen = []
    numbers = Producer(ticking)
    stage = numbers if straight else Stage(later, numbers, context="inline")
    await Pipeline("p", numbers, Sink(seen.append, stage, name="end")).process()
    assert seen == [0, 1, 2, 3, 4]


async def test_stopping_a_producer_with_a_nursery_ends_its_tasks(autojump_clock):
    numbers = Producer(ticking)
    before = trio.lowlevel.current_statistics().tasks_living
    async with Pipeline("p", numbers, Stage(later, numbers)).open() as stream:
        results = []
        async for result in stream:
            results.append(result)
            stream.stop_source()
    assert results[0] == 0
    assert len(results) <= 3
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_task_of_a_producer_that_fails_ends_the_stream(autojump_clock):
    async def failing():
        async with trio.open_nursery() as nursery:

            async def fail():
                await trio.sleep(2.5)
                raise KeyError

            nursery.start_soon(fail)
            for value in range(100):
                await trio.sleep(1)
                yield value

    numbers = Producer(failing)
    with pytest.raises(ExceptionGroup) as caught:
        await Pipeline("p", numbers, Stage(later, numbers)).process()
    assert caught.group_contains(KeyError, depth=1)
    assert caught.value.__notes__ == ["in the source of pipeline 'p'"]


async def test_a_producer_may_hold_a_cancel_scope_across_its_yields(autojump_clock):
    seen = []
    numbers = Producer(for_a_while)
    await Pipeline("p", numbers, Sink(seen.append, numbers, name="end")).process()
    assert seen == [0, 1, 2]


async def test_the_scope_of_a_producer_does_not_cut_off_what_is_done_with_its_items(autojump_clock):
    done = []

    async def slow(value: int) -> None:
        await trio.sleep(10)
        done.append(value)

    numbers = Producer(for_a_while)
    report = await Pipeline("p", numbers, Sink(slow, numbers)).process()
    assert done == list(range(report.taken))
    assert done


async def test_a_producer_may_itself_read_another_stream(autojump_clock):
    inner = Pipeline("inner", number, Stage(later, number))

    async def results():
        async with inner.open(range(3)) as stream, aclosing(stream_of(stream)) as values:
            async for value in values:
                yield value

    async def stream_of(stream):
        async for value in stream:
            yield value

    numbers = Producer(results)
    async with Pipeline("outer", numbers, Stage(later, numbers)).open() as stream:
        assert [result async for result in stream] == [0, 1, 2]


# ---- in a thread


async def test_D5_an_iterable_whose_steps_block_runs_in_a_thread():
    threads = set()

    def blocking():
        try:
            for value in range(5):
                threads.add(threading.current_thread() is threading.main_thread())
                yield value
        finally:
            threads.add(threading.current_thread() is threading.main_thread())

    numbers = Producer(blocking, context="thread")
    async with Pipeline("p", numbers, Stage(same, numbers, context="inline")).open() as stream:
        assert [result async for result in stream] == [0, 1, 2, 3, 4]
    assert threads == {False}


@pytest.mark.parametrize("way", ["stop", "cancel"])
async def test_a_generator_in_a_thread_is_closed_in_one_too(way):
    closed_in = []

    def blocking():
        try:
            yield from range(10**6)
        finally:
            closed_in.append(threading.current_thread())

    numbers = Producer(blocking, context="thread")
    pipeline = Pipeline("p", numbers, Stage(same, numbers, context="inline"))
    with trio.CancelScope() as scope:
        async with pipeline.open() as stream:
            async for result in stream:
                if result == 20:
                    stream.stop_source() if way == "stop" else scope.cancel()
    assert len(closed_in) == 1
    assert closed_in[0] is not threading.main_thread()


async def test_what_a_thread_gives_while_it_is_stopped_is_not_lost():
    began, go_on = threading.Event(), threading.Event()
    given = []

    def blocking():
        for value in range(100):
            if value == 2:
                began.set()
                go_on.wait(10)
            given.append(value)
            yield value

    numbers = Producer(blocking, context="thread")
    async with Pipeline("p", numbers, Stage(same, numbers, context="inline")).open() as stream:
        await trio.to_thread.run_sync(began.wait)
        stream.stop_source()
        await trio.lowlevel.checkpoint()
        go_on.set()
        results = [result async for result in stream]
    assert results == given == [0, 1, 2]


# ---- what is known of it


@pytest.mark.parametrize(("source", "total"), [(range(7), 7), ([1, 2], 2), (iter([1]), None), (None, None)])
async def test_the_total_is_known_if_the_source_knows_its_length(source, total, autojump_clock):
    async with Pipeline("p", number, Stage(same, number)).open(source) as stream:
        assert stream.progress().total == total
        assert stream.progress().remaining is None


async def test_the_total_of_a_producer_is_known_if_that_gives_something_with_a_length(autojump_clock):
    numbers = Producer(lambda: range(7), name="numbers")
    async with Pipeline("p", numbers, Stage(later, numbers)).open() as stream:
        await wait_all_tasks_blocked()
        assert stream.progress().total == 7
