"""The straight way: functions called one after the other, with all the rest done once in so many items."""

from __future__ import annotations

import pytest
import trio

from spaceactors.pipelines import Pipeline, Producer, Sink, Stage, StreamProgress
from spaceactors.pipelines._functions import Wait
from spaceactors.pipelines._straight import AT_A_STRETCH, Stretch, go_straight


class Odd(Exception):
    pass


def plain(value: int) -> int:
    return value + 1


async def waiting(value: int) -> int:
    return value + 1


def silent(value):
    return value + 1


def either(value):
    """Gives something to await for every other value."""
    return waiting(value) if value % 2 else value + 1


KINDS = {"plain": plain, "waiting": waiting, "silent": silent, "either": either}
kinds = pytest.mark.parametrize("kind", KINDS)
lengths = pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7])


def straight(fns, items, *, end):
    """Make a pipeline that is one place: some stages, then a sink."""
    stage = numbers = Producer(lambda: range(items), name="numbers")
    for place, fn in enumerate(fns):
        stage = Stage(fn, stage, name=f"s{place}")
    pipeline = Pipeline("p", numbers, Sink(end, stage, name="end"))
    assert len(pipeline.plan.groups()) == 1
    return pipeline


def end_of(kind, seen):
    """A sink of the same kind as the stages: only together do they take the loop of that kind."""

    def keep(value: int) -> None:
        seen.append(value)

    async def keep_waiting(value: int) -> None:
        seen.append(value)

    return {"plain": keep, "waiting": keep_waiting}.get(kind, seen.append)


def figures(progress: StreamProgress):
    return {name: (one.taken, one.done) for name, one in progress.stages.items()}


@kinds
@lengths
@pytest.mark.parametrize("items", [0, 1, AT_A_STRETCH - 1, AT_A_STRETCH, AT_A_STRETCH + 1, 3 * AT_A_STRETCH])
async def test_D6_all_items_go_through_all_functions(kind, length, items):
    seen = []
    report = await straight([KINDS[kind]] * length, items, end=end_of(kind, seen)).process()
    assert seen == [value + length for value in range(items)]
    assert (report.taken, report.delivered, report.unread, report.left) == (items, items, 0, 0)


@lengths
async def test_functions_of_all_kinds_may_follow_each_other(length):
    seen = []
    fns = [*KINDS.values(), *KINDS.values()][:length]
    await straight(fns, 100, end=seen.append).process()
    assert seen == [value + length for value in range(100)]


@kinds
@lengths
@pytest.mark.parametrize("where", ["first", "last", "sink"])
async def test_D7_an_error_tells_in_which_function_it_was_raised_and_all_are_counted_right(kind, length, where):
    fn = KINDS[kind]
    at = {"first": 0, "last": length - 1, "sink": length}[where]

    def breaking(value: int) -> int:
        if value == 70 + at:
            raise Odd(value)
        return value + 1

    async def breaking_later(value: int) -> int:
        return breaking(value)

    fns = [fn] * (length + 1)
    fns[at] = breaking_later if kind == "waiting" else breaking
    pipeline = straight(fns[:length], 200, end=fns[length])
    with pytest.raises(Odd) as caught:
        async with pipeline.open() as stream:
            await stream.wait_done()
    name = "end" if where == "sink" else f"s{at}"
    assert caught.value.__notes__ == [f"in stage {name!r} of pipeline 'p'"]
    names = [*(f"s{place}" for place in range(length)), "end"]
    assert figures(stream.progress()) == {
        one: (71 if place <= at else 70, 71 if place < at else 70) for place, one in enumerate(names)
    }
    assert (stream.report.taken, stream.report.delivered, stream.report.left) == (71, 70, 1)


@kinds
async def test_D7_a_function_that_comes_twice_is_told_by_its_place(kind):
    calls = 0

    def breaking(value: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Odd
        return value

    with pytest.raises(Odd) as caught:
        await straight([KINDS[kind], breaking, breaking], 10, end=plain).process()
    assert caught.value.__notes__ == ["in stage 's2' of pipeline 'p'"]


@kinds
async def test_D7_an_error_of_the_source_is_told_as_that(kind):
    def numbers():
        yield from range(100)
        raise Odd

    source = Producer(numbers)
    pipeline = Pipeline("p", source, Sink(KINDS[kind], source))
    with pytest.raises(Odd) as caught:
        async with pipeline.open() as stream:
            await stream.wait_done()
    assert caught.value.__notes__ == ["in the source of pipeline 'p'"]
    assert (stream.report.taken, stream.report.delivered) == (100, 100)


@kinds
async def test_a_stop_iteration_in_a_function_does_not_end_the_items(kind):
    def exhausted(value: int) -> int:
        return next(iter(())) if value == 70 else value

    with pytest.raises(RuntimeError, match="StopIteration"):
        await straight([KINDS[kind], exhausted], 100, end=plain).process()


async def test_law_8_others_run_at_least_once_in_64_items():
    most = since = 0

    def look(value: int) -> None:
        nonlocal since, most
        since += 1
        most = max(most, since)

    async def other():
        nonlocal since
        while True:
            since = 0
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await straight([plain, plain], 1000, end=look).process()
        nursery.cancel_scope.cancel()
    assert most <= 2 * AT_A_STRETCH  # who goes first in a pass of the scheduler is drawn by lot


@kinds
async def test_what_was_counted_before_a_cancellation_is_right(kind, autojump_clock):
    async def slow(value: int) -> None:
        await trio.sleep(1)

    with trio.move_on_after(70.5):
        async with straight([KINDS[kind]], 1000, end=slow).open() as stream:
            await stream.wait_done()
    assert (stream.report.taken, stream.report.delivered, stream.report.left) == (71, 70, 1)
    assert figures(stream.progress()) == {"s0": (71, 71), "end": (71, 70)}


async def test_a_function_declared_to_give_no_awaitable_is_taken_at_its_word():
    counted = []
    stretch = Stretch()
    await go_straight(iter(range(130)), [plain, plain], [Wait.NEVER] * 2, stretch, counted.append)
    assert counted == [64, 64, 2]
    assert stretch.at is None


@pytest.mark.parametrize("wait", list(Wait))
@pytest.mark.parametrize("inside", [True, False])
async def test_what_is_ended_takes_no_further_item(wait, inside):
    """By one of its functions, at once; by somebody else, when that has its turn."""
    stretch, counted, values = Stretch(), [], iter(range(1000))

    def look(value: int) -> int:
        if inside and value == 10:
            stretch.end()
        return value

    async def look_waiting(value: int) -> int:
        return look(value)

    async def end_soon():
        stretch.end()

    fn = look_waiting if wait is Wait.ALWAYS else look
    async with trio.open_nursery() as nursery:
        if not inside:
            nursery.start_soon(end_soon)
        await go_straight(values, [fn, fn], [wait] * 2, stretch, counted.append)
    # Who goes first in a pass of the scheduler is drawn by lot.
    assert sum(counted) in ({11} if inside else {AT_A_STRETCH, 2 * AT_A_STRETCH})
    assert next(values) == sum(counted)


async def test_what_was_ended_before_it_began_takes_nothing():
    stretch = Stretch()
    stretch.end()
    values = iter(range(3))
    await go_straight(values, [plain], [Wait.NEVER], stretch, lambda done: None)
    assert list(values) == [0, 1, 2]


@pytest.mark.slow
async def test_many_items_take_no_more_memory_than_few():
    import tracemalloc

    peaks = []

    def look(value: int) -> None:
        if value == 20_000:
            tracemalloc.reset_peak()
            peaks.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        await straight([plain, waiting, silent], 200_000, end=look).process()
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 100_000
