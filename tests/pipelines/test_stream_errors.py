"""D7: what a stage or the source raises comes out of the stream as it was raised, and tells where; or is left out."""

from __future__ import annotations

import traceback

import pytest
import trio

from spaceactors import Retry
from spaceactors.pipelines import Cache, Input, OnError, Pipeline, PipelineError, Producer, Sink, Stage, StreamClosed

number = Input(int)
NOTE = "in stage 'fail' of pipeline 'p'"


class Odd(Exception):
    pass


async def one_more(value: int) -> int:
    return value + 1


def deep(value):
    raise Odd(value)


async def fail(value: int) -> int:
    if value == 3:
        deep(value)
    return value


def fail_sync(value: int) -> int:
    return deep(value) if value == 3 else value


def chain(fn, **options):
    """Make a pipeline with one stage that fails, and others around it, each in a place of its own."""
    before = Stage(one_more, number, name="before")
    failing = Stage(fn, before, name="fail", context="inline", **options)
    return Pipeline("p", number, Stage(one_more, failing, name="after", context="inline"))


def notes(error):
    return getattr(error, "__notes__", [])


@pytest.mark.parametrize("fn", [fail, fail_sync])
@pytest.mark.parametrize("options", [{}, {"concurrency": 3}, {"concurrency": 3, "ordered": False}, {"timeout": 9}])
async def test_D7_the_error_of_a_stage_comes_out_bare_with_its_traceback_and_tells_the_stage(
    fn, options, autojump_clock
):
    with pytest.raises(Odd) as caught:
        async with chain(fn, **options).open(range(100)) as stream:
            async for _ in stream:
                pass
    assert notes(caught.value) == [NOTE]
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "deep"
    assert caught.value.__context__ is caught.value.__cause__ is None
    assert stream.report.taken == stream.report.delivered + stream.report.left


async def test_D7_process_raises_it_too(autojump_clock):
    with pytest.raises(Odd) as caught:
        await chain(fail).process(range(100))
    assert notes(caught.value) == [NOTE]


async def test_D7_the_context_and_cause_of_an_error_stay_as_they_were(autojump_clock):
    def fail(value: int) -> int:
        try:
            raise KeyError(value)
        except KeyError:
            raise Odd(value)  # noqa: B904

    with pytest.raises(Odd) as caught:
        await chain(fail).process(range(100))
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


async def test_D7_a_group_that_a_stage_raises_stays_a_group(autojump_clock):
    fail_at_three = fail

    async def in_a_nursery(value: int) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_at_three, value)
        return value

    with pytest.raises(ExceptionGroup) as caught:
        await chain(in_a_nursery, concurrency=2).process(range(100))
    assert notes(caught.value) == [NOTE]
    assert caught.group_contains(Odd, depth=1)


async def test_D7_no_code_after_the_loop_that_reads_runs_when_a_stage_has_failed(autojump_clock):
    went_on = []
    with pytest.raises(Odd):
        async with chain(fail).open(range(100)) as stream:
            async for _ in stream:
                pass
            went_on.append(True)
    assert went_on == []


async def test_D7_a_reader_elsewhere_does_not_take_a_failure_for_the_end(autojump_clock):
    told = []

    async def read():
        try:
            async for _ in stream:
                pass
        except StreamClosed as error:
            told.append(error.__cause__)

    async with trio.open_nursery() as nursery:
        with pytest.raises(Odd) as caught:
            async with chain(fail).open(range(100)) as stream:
                nursery.start_soon(read)
                await trio.sleep_forever()
    assert told == [caught.value]


async def test_D7_a_failure_while_the_block_is_left_comes_out_all_the_same(autojump_clock):
    async def fail(value: int) -> int:
        await trio.sleep(1)
        return deep(value) if value == 3 else value

    with pytest.raises(Odd) as caught:
        async with chain(fail).open(range(100)):
            await trio.sleep(0.5)
    assert notes(caught.value) == [NOTE]


async def test_D7_a_failure_during_a_drain_comes_out_all_the_same(autojump_clock):
    async def fail(value: int) -> int:
        await trio.sleep(1)
        return deep(value) if value == 3 else value

    with pytest.raises(Odd):
        async with chain(fail).open(range(100)) as stream:
            await trio.sleep(0.5)
            await stream.drain()


async def test_D7_what_others_do_is_cut_off_when_a_stage_fails(autojump_clock):
    async def slow(value: int) -> int:
        await trio.sleep(100)
        return value

    first = Stage(fail, number, name="fail")
    pipeline = Pipeline("p", number, Stage(slow, first, name="slow", context="inline"))
    with pytest.raises(Odd):
        await pipeline.process(range(10))
    assert trio.current_time() == 0


async def test_D7_an_error_of_the_body_beside_it_comes_out_in_one_group_with_it(autojump_clock):
    with pytest.raises(ExceptionGroup) as caught:
        async with chain(fail).open(range(100)) as stream:
            try:
                async for _ in stream:
                    pass
            finally:
                raise KeyError
    assert [type(one) for one in caught.value.exceptions] == [Odd, KeyError]
    assert notes(caught.value.exceptions[0]) == [NOTE]


async def test_D7_what_a_stage_raises_at_its_cancellation_is_not_lost(autojump_clock):
    async def untidy(value: int) -> int:
        try:
            await trio.sleep_forever()
        finally:
            raise Odd(value)

    pipeline = Pipeline("p", number, Stage(untidy, number, concurrency=2))
    with pytest.raises(ExceptionGroup) as caught:
        async with pipeline.open(range(3)):
            await trio.sleep(1)
            raise KeyError
    assert [type(one) for one in caught.value.exceptions] == [Odd, KeyError]


async def test_D7_a_second_failure_is_noted_at_the_first(autojump_clock):
    async def untidy(value: int) -> int:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError(value)

    pipeline = Pipeline("p", number, Stage(one_more, Stage(untidy, number)), beside=[Stage(fail, number)])
    with pytest.raises(Odd) as caught:
        await pipeline.process([3])
    assert notes(caught.value) == [NOTE, "something else failed too: ValueError: 3"]


async def test_D7_ctrl_c_in_a_stage_comes_out_as_it_is(autojump_clock):
    def interrupted(value: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await chain(interrupted, concurrency=2).process(range(3))


async def test_a_stage_beside_that_fails_ends_the_stream_too(autojump_clock):
    pipeline = Pipeline("p", number, Stage(one_more, number), beside=[Stage(fail, number)])
    with pytest.raises(Odd) as caught:
        await pipeline.process(range(100))
    assert notes(caught.value) == [NOTE]


async def test_branches_in_one_place_fail_as_one_stage_does(autojump_clock):
    base = Stage(one_more, number, name="base")
    one, two = Stage(one_more, base, name="one"), Stage(fail, base)

    async def join(a: int, b: int) -> int:
        return a + b

    pipeline = Pipeline("p", number, Stage(join, one, two))
    assert len(pipeline.plan.groups()) == 2
    with pytest.raises(Odd) as caught:
        await pipeline.process(range(100))
    assert notes(caught.value) == [NOTE]


# ---- skipping


async def test_an_item_at_which_a_stage_fails_is_left_out_if_the_stage_may_be_skipped(autojump_clock):
    async with chain(fail, on_error=OnError.SKIP).open(range(6)) as stream:
        assert [result async for result in stream] == [2, 3, 5, 6, 7]
    report = stream.report
    assert (report.taken, report.delivered, report.skipped, report.left) == (6, 5, 1, 0)
    [skipped] = stream.skipped
    assert (skipped.stage, skipped.args) == ("fail", (3,))
    assert notes(skipped.error) == [NOTE]
    assert stream.progress().stages["fail"].skipped == 1


async def test_an_item_skipped_in_two_branches_counts_once(autojump_clock):
    async def join(a: int, b: int) -> int:
        return a + b

    one = Stage(fail, number, name="one", on_error=OnError.SKIP)
    two = Stage(fail, number, name="two", on_error=OnError.SKIP)
    async with Pipeline("p", number, Stage(join, one, two)).open(range(6)) as stream:
        assert [result async for result in stream] == [0, 2, 4, 8, 10]
    assert stream.report.skipped == 1
    assert {one.stage for one in stream.skipped} == {"one", "two"}


async def test_an_item_skipped_beside_the_way_to_the_output_comes_out(autojump_clock):
    beside = Stage(fail, number, on_error=OnError.SKIP)
    async with Pipeline("p", number, Stage(one_more, number), beside=[beside]).open(range(6)) as stream:
        assert [result async for result in stream] == [1, 2, 3, 4, 5, 6]
    assert stream.report.skipped == 0
    assert len(stream.skipped) == 1


async def test_only_the_latest_thousand_of_the_skipped_are_kept_and_all_are_counted(autojump_clock):
    def never(value: int) -> int:
        raise Odd(value)

    pipeline = Pipeline("p", number, Stage(never, number, on_error=OnError.SKIP))
    async with pipeline.open(range(1500)) as stream:
        await stream.wait_done()
    assert stream.report.skipped == 1500
    assert [one.args[0] for one in stream.skipped] == list(range(500, 1500))


# ---- what else a stage may be told


async def test_a_fallback_answers_for_a_stage_that_fails(autojump_clock):
    async def instead(value: int) -> int:
        return -value

    async with chain(fail, fallback=instead).open(range(5)) as stream:
        assert [result async for result in stream] == [2, 3, -2, 5, 6]


async def test_a_stage_is_tried_again(autojump_clock):
    tries = []

    async def flaky(value: int) -> int:
        tries.append(value)
        if tries.count(value) < 3:
            raise Odd
        return value

    async with chain(flaky, retry=Retry(3)).open(range(3)) as stream:
        assert [result async for result in stream] == [2, 3, 4]
    assert len(tries) == 9


async def test_a_stage_that_takes_too_long_is_skipped(autojump_clock):
    async def slow(value: int) -> int:
        await trio.sleep(5 if value == 2 else 1)
        return value

    async with chain(slow, timeout=3, on_error=OnError.SKIP).open(range(4)) as stream:
        assert [result async for result in stream] == [2, 4, 5]
    assert isinstance(stream.skipped[0].error, trio.TooSlowError)


async def test_a_stage_that_remembers_is_called_once_for_equal_items(autojump_clock):
    calls = []

    async def ask(value: int) -> int:
        calls.append(value)
        await trio.sleep(1)
        return value

    pipeline = Pipeline("p", number, Stage(ask, number, cache=Cache(), concurrency=4))
    async with pipeline.open([1, 1, 2, 1, 2]) as stream:
        assert [result async for result in stream] == [1, 1, 2, 1, 2]
    assert sorted(calls) == [1, 2]


# ---- the source


def broken_generator():
    yield 1
    deep(1)


class BrokenIterable:
    def __iter__(self):
        return deep(1)


async def broken_async_generator():
    yield 1
    deep(1)


class BrokenAsyncIterable:
    def __aiter__(self):
        return deep(1)


SOURCES = [broken_generator, BrokenIterable, broken_async_generator, BrokenAsyncIterable]


@pytest.mark.parametrize("make", SOURCES)
async def test_D7_a_source_that_fails_ends_the_stream_with_its_error(make, autojump_clock):
    pipeline = Pipeline("p", number, Stage(one_more, number))
    with pytest.raises(Odd) as caught:
        await pipeline.process(make())
    assert notes(caught.value) == ["in the source of pipeline 'p'"]
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "deep"


@pytest.mark.parametrize("make", [*SOURCES, lambda: deep(1)])
@pytest.mark.parametrize("straight", [True, False])
async def test_D7_so_does_a_producer_that_fails(make, straight, autojump_clock):
    numbers = Producer(make, name="numbers")
    only = Stage(one_more, numbers)
    with pytest.raises(Odd) as caught:
        await Pipeline("p", numbers, Sink(one_more, only, name="end") if straight else only).process()
    assert notes(caught.value) == ["in the source of pipeline 'p'"]


def raises_at_its_end():
    try:
        for value in range(100):  # noqa: UP028
            yield value
    finally:
        raise Odd


async def raises_at_its_async_end():
    try:
        for value in range(100):
            yield value
    finally:
        raise Odd


@pytest.mark.parametrize("make", [raises_at_its_end, raises_at_its_async_end])
@pytest.mark.parametrize("producer", [True, False])
async def test_D7_what_a_source_raises_when_it_is_closed_comes_out(make, producer, autojump_clock):
    async def stopping(value: int) -> None:
        if value == 5:
            stream.stop_source()

    source = Producer(make) if producer else number
    with pytest.raises(Odd) as caught:
        async with Pipeline("p", source, Sink(stopping, source)).open(None if producer else make()) as stream:
            await stream.wait_done()
    assert notes(caught.value) == ["in the source of pipeline 'p'"]


@pytest.mark.parametrize("make", [raises_at_its_end, raises_at_its_async_end])
@pytest.mark.parametrize("producer", [True, False])
async def test_D7_what_a_source_raises_when_a_stage_has_failed_is_noted_at_that(make, producer, autojump_clock):
    def failing(value: int) -> None:
        if value == 5:
            raise KeyError(value)

    source = Producer(make) if producer else number
    with pytest.raises(KeyError) as caught:
        await Pipeline("p", source, Sink(failing, source)).process(None if producer else make())
    assert notes(caught.value)[0] == "in stage 'failing' of pipeline 'p'"
    assert "failed too: Odd: " in notes(caught.value)[1]


@pytest.mark.parametrize("make", [raises_at_its_end, raises_at_its_async_end])
async def test_D7_and_what_it_raises_when_the_body_has_failed_comes_out_beside_that(make, autojump_clock):
    with pytest.raises(ExceptionGroup) as caught:
        async with Pipeline("p", number, Stage(one_more, number)).open(make(), buffer=1):
            await trio.sleep(1)
            raise KeyError
    assert [type(one) for one in caught.value.exceptions] == [Odd, KeyError]


async def test_a_producer_that_gives_nothing_to_iterate_over_is_a_clear_error(autojump_clock):
    numbers = Producer(lambda: 5, name="numbers")  # type: ignore[arg-type,return-value]
    with pytest.raises(PipelineError, match="must give something to iterate over"):
        await Pipeline("p", numbers, Stage(one_more, numbers)).process()


async def test_D7_ctrl_c_in_the_body_comes_out_instead_of_what_a_stage_raises_then(autojump_clock):
    async def untidy(value: int) -> int:
        try:
            await trio.sleep_forever()
        finally:
            raise Odd(value)

    with pytest.raises(KeyboardInterrupt):
        async with Pipeline("p", number, Stage(untidy, number)).open(range(3)):
            await trio.sleep(1)
            raise KeyboardInterrupt
