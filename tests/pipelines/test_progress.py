"""Progress of a stream: as figures, and as a bar in a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
import trio
from rich.console import Console

from spaceactors import Retry
from spaceactors.pipelines import Batch, Cache, Input, OnError, Pipeline, Sink, Stage, StageStatistics, show_progress
from spaceactors.pipelines._items import StreamProgress, StreamReport

number = Input(int)


async def later(value: int) -> int:
    await trio.sleep(1)
    return value


async def slower(value: int) -> int:
    await trio.sleep(2)
    return value


def odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError
    return value


def two_places():
    return Pipeline("numbers", number, Stage(slower, Stage(later, number), context="inline"))


# ---- figures


async def test_the_figures_tell_how_far_each_stage_is(autojump_clock):
    async with two_places().open(range(10), buffer=3) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(stream.wait_done)
        await trio.sleep(5.5)
        now = stream.progress()
        assert (now.stages["later"].taken, now.stages["later"].done) == (6, 5)
        assert (now.stages["slower"].taken, now.stages["slower"].done) == (3, 2)
        assert (now.stages["slower"].waiting, now.stages["later"].waiting) == (2, 3)
        assert (now.taken, now.delivered, now.skipped, now.total) == (10, 2, 0, 10)
        assert now.finished == 2
        assert now.seconds == 5.5
        assert now.rate == pytest.approx(2 / 5.5)
        assert now.remaining == pytest.approx(8 / (2 / 5.5))


async def test_the_figures_tell_of_tries_fallbacks_and_what_was_remembered_and_the_pipeline_s_do_not(autojump_clock):
    tried = set[int]()

    async def flaky(value: int) -> int:
        if value not in tried:
            tried.add(value)
            raise OSError
        return value

    async def broken(_value: int) -> int:
        raise OSError

    first = Stage(flaky, number, retry=Retry(2), cache=Cache())
    pipeline = Pipeline("p", number, Stage(broken, first, fallback=later))
    async with pipeline.open([1, 2, 1, 2, 1]) as stream:
        await stream.wait_done()
    now = stream.progress().stages
    assert (now["flaky"].retries, now["flaky"].cached) == (2, 3)
    assert now["broken"].fallbacks == 5
    assert pipeline.statistics().stages == {"flaky": StageStatistics(), "broken": StageStatistics()}


async def test_the_figures_stand_still_once_all_is_done(autojump_clock):
    async with two_places().open(range(4)) as stream:
        await stream.wait_done()
        before = stream.progress(), stream.report
        await trio.sleep(100)
        assert (stream.progress(), stream.report) == before
    await trio.sleep(100)
    assert (stream.progress(), stream.report) == before
    assert before[0].seconds == 9
    assert before[0].remaining == 0


async def test_what_was_skipped_is_finished_too(autojump_clock):
    pipeline = Pipeline("p", number, Stage(later, Stage(odd, number, on_error=OnError.SKIP)))
    async with pipeline.open(range(10)) as stream:
        await stream.wait_done()
    now = stream.progress()
    assert (now.finished, now.delivered, now.skipped) == (10, 5, 5)
    assert (now.stages["odd"].taken, now.stages["odd"].done, now.stages["odd"].skipped) == (10, 5, 5)


async def test_a_batch_is_counted_by_its_items(autojump_clock):
    async def total(values: tuple[int, ...]) -> int:
        await trio.sleep(1)
        return sum(values)

    pipeline = Pipeline("p", number, Stage(total, Batch(number, 4)))
    async with pipeline.open(range(10)) as stream:
        await stream.wait_done()
    now = stream.progress()
    assert now.delivered == 10
    assert (now.stages["batch of input"].done, now.stages["total"].done) == (10, 3)


async def test_taken_is_delivered_and_skipped_and_left_at_every_moment(autojump_clock):
    async def watch():
        while True:
            report = stream.report
            assert report.taken == report.delivered + report.skipped + report.left
            assert report.left >= 0
            assert report.clean == (report.left == 0)
            await trio.sleep(0.25)

    pipeline = Pipeline("p", number, Sink(later, Stage(odd, number, on_error=OnError.SKIP), concurrency=2))
    async with trio.open_nursery() as nursery:
        async with pipeline.open(range(50), buffer=2) as stream:
            nursery.start_soon(watch)
            await stream.wait_done()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


def test_without_a_total_or_anything_finished_nobody_knows_what_remains():
    assert StreamProgress({}, 5, 2, 0, None, 1.0).remaining is None
    assert StreamProgress({}, 5, 0, 0, 10, 1.0).remaining is None
    assert StreamProgress({}, 5, 0, 0, 10, 0.0).rate == 0
    assert StreamProgress({}, 12, 12, 0, 10, 1.0).remaining == 0  # the source gave more than it said


def test_a_report_is_told_in_a_line():
    assert str(StreamReport(5, 5, 0, 0, 0, 1.5)) == "5 taken, 5 delivered in 1.500 s"
    told = str(StreamReport(9, 5, 1, 2, 2, 1.5))
    assert told == "9 taken, 5 delivered, 1 unread, 2 skipped, 2 left inside in 1.500 s"


# ---- as a bar


def terminal():
    return Console(file=StringIO(), force_terminal=True, width=100)


async def shown(pipeline, items, console):
    async with trio.open_nursery() as nursery, pipeline.open(range(items)) as stream:

        async def show():
            await show_progress(stream, console=console)

        nursery.start_soon(show)
        await stream.wait_done()
    return console.file.getvalue()


async def test_a_bar_shows_the_whole_and_each_stage(autojump_clock):
    text = await shown(two_places(), 10, terminal())
    for told in ("numbers", "later", "slower", "10/10", "a second", "waiting", "left"):
        assert told in text


async def test_the_bar_tells_what_was_skipped(autojump_clock):
    pipeline = Pipeline("p", number, Stage(later, Stage(odd, number, on_error=OnError.SKIP)))
    assert "5 skipped" in await shown(pipeline, 10, terminal())


async def test_names_are_shown_as_they_are(autojump_clock):
    pipeline = Pipeline("[red]", number, Stage(later, number, name="[bold]stage[/bold]"))
    text = await shown(pipeline, 2, terminal())
    assert "[red]" in text
    assert "[bold]stage[/bold]" in text


async def test_where_there_is_no_terminal_nothing_is_drawn(autojump_clock):
    console = Console(file=StringIO(), force_terminal=False)
    assert await shown(two_places(), 3, console) == ""


async def test_the_bar_ends_when_the_stream_is_cut_off(autojump_clock):
    console = terminal()

    async def show():
        await show_progress(stream, console=console)

    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError):
            async with two_places().open(range(100)) as stream:
                nursery.start_soon(show)
                await trio.sleep(3)
                raise KeyError
    assert stream.is_over


async def test_the_bar_can_be_cancelled(autojump_clock):
    async with two_places().open(range(3)) as stream:
        with trio.move_on_after(1.5):
            await show_progress(stream, console=terminal())
        await stream.wait_done()
