"""What a pipeline counts of its runs: FEATURES C5."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import Retry
from spaceactors.pipelines import Cache, Input, OnError, Pipeline, Stage, StageStatistics
from spaceactors.pipelines._tally import StageTally, Tally
from tests.pipelines.stage_jobs import count_all, double, fail, nap, napping

number = Input(int)


def stages(count, seconds=0.5):
    return [Stage(napping(seconds, f"s{place}"), number) for place in range(count)]


async def attempt(pipeline, value):
    with pytest.raises(LookupError):
        await pipeline.run(value)


def test_C5_a_pipeline_that_never_ran_has_figures_too():
    figures = Pipeline("p", number, Stage(double, number)).statistics()
    assert (figures.total, figures.average, figures.throughput, figures.parallel_share) == (0, 0.0, 0.0, 0.0)
    assert figures.stages == {"double": StageStatistics()}
    assert figures.stages["double"].average == 0.0


async def test_C5_runs_are_counted_by_how_they_ended(autojump_clock):
    async def odd(value):
        await trio.sleep(value)
        if value % 2:
            raise LookupError
        return value

    pipeline = Pipeline("p", number, Stage(odd, number))
    for value in (2, 4, 6):
        await pipeline.run(value)
    for value in (1, 3):
        await attempt(pipeline, value)
    with trio.move_on_after(1):
        await pipeline.run(8)
    figures = pipeline.statistics()
    assert (figures.total, figures.completed, figures.failed, figures.cancelled) == (6, 3, 2, 1)
    assert figures.running == 0


async def test_C5_the_average_and_the_slowest_are_of_runs_that_completed(autojump_clock):
    pipeline = Pipeline("p", number, Stage(nap, number))
    for value in (1, 2, 6):
        await pipeline.run(value)
    with trio.move_on_after(60):
        await pipeline.run(100)
    figures = pipeline.statistics()
    assert (figures.average, figures.slowest) == (pytest.approx(3), pytest.approx(6))


async def test_C5_throughput_counts_the_time_in_which_any_ran(autojump_clock):
    pipeline = Pipeline("p", number, Stage(nap, number))
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(pipeline.run, 2)
    await trio.sleep(1000)
    await pipeline.run(3)
    assert pipeline.statistics().throughput == pytest.approx(11 / 5)


async def test_C5_statistics_can_be_read_while_runs_go_on(autojump_clock):
    pipeline = Pipeline("p", number, Stage(nap, number))
    async with trio.open_nursery() as nursery:
        for seconds in (1, 4, 4):
            nursery.start_soon(pipeline.run, seconds)
        await trio.sleep(2)
        figures = pipeline.statistics()
        assert (figures.total, figures.completed, figures.running) == (3, 1, 2)
        assert figures.throughput == pytest.approx(1 / 2)


async def test_C5_statistics_can_be_read_outside_trio_while_runs_go_on():
    """On the real clock: a virtual one does not wait for threads."""
    done = trio.Event()

    async def wait(_value):
        await done.wait()

    pipeline = Pipeline("p", number, Stage(wait, number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run, 1)
        await trio.testing.wait_all_tasks_blocked()
        figures = await trio.to_thread.run_sync(pipeline.statistics)
        assert (figures.running, figures.throughput) == (1, 0.0)
        done.set()


async def test_C5_C9_how_many_stages_ran_at_once(autojump_clock):
    pipeline = Pipeline("p", number, Stage(count_all, *stages(4), name="all"))
    await pipeline.run(1)
    assert pipeline.statistics().at_once == 4


async def test_C5_stages_at_once_are_counted_over_all_runs(autojump_clock):
    pipeline = Pipeline("p", number, Stage(nap, number))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(pipeline.run, 1)
    assert pipeline.statistics().at_once == 5


async def test_C5_C9_the_parallel_share_is_that_of_all_stages_that_ran(autojump_clock):
    pipeline = Pipeline("p", number, Stage(count_all, *stages(4), name="all"))
    await pipeline.run(1)
    assert pipeline.statistics().parallel_share == pytest.approx(4 / 5)
    await pipeline.run(1, sequential=True)
    figures = pipeline.statistics()
    assert (figures.parallel_share, figures.sequential) == (pytest.approx(2 / 5), 1)


async def test_C5_each_stage_has_figures_of_its_own(autojump_clock):
    slow = Stage(nap, number, cache=Cache())
    broken = Stage(fail, number, on_error=OnError.SKIP)
    answered = Stage(fail, number, name="answered", fallback=double)
    needs = Stage(double, broken, name="needs")
    pipeline = Pipeline("p", number, slow, beside=[needs, answered])
    for _ in range(3):
        await pipeline.run(2)
    figures = pipeline.statistics().stages
    assert figures["nap"] == StageStatistics(calls=3, cached=2, seconds=pytest.approx(2), slowest=pytest.approx(2))
    assert figures["nap"].average == pytest.approx(2 / 3)
    assert (figures["fail"].calls, figures["fail"].skipped) == (3, 3)
    assert (figures["needs"].calls, figures["needs"].skipped) == (0, 3)
    assert (figures["answered"].calls, figures["answered"].fallbacks) == (3, 3)


async def test_C5_a_stage_that_failed_is_counted_and_one_that_was_cancelled_for_it_is_not(autojump_clock):
    broken = Stage(fail, Stage(napping(1, "x"), number), name="broken")
    pipeline = Pipeline("p", number, Stage(count_all, broken, Stage(nap, number)))
    await attempt(pipeline, 60)
    figures = pipeline.statistics().stages
    assert (figures["broken"].failed, figures["nap"].failed, figures["nap"].calls) == (1, 0, 1)


async def test_C5_figures_do_not_change_once_they_are_read(autojump_clock):
    pipeline = Pipeline("p", number, Stage(nap, number))
    before = pipeline.statistics()
    await pipeline.run(1)
    assert (before.total, before.stages["nap"].calls) == (0, 0)


async def test_C5_figures_as_text(autojump_clock):
    broken = Stage(fail, number, fallback=double)
    pipeline = Pipeline("p", number, Stage(nap, number), beside=[broken])
    for _ in range(4):
        await pipeline.run(2)
    assert str(pipeline.statistics()).splitlines() == [
        "4 runs: 4 completed, 0 failed, 0 cancelled, 0 running",
        "2.000 s on average, 2.000 s at most, 0.5 a second; 2 stages at once, 0% beside another",
        "  nap: 4 calls; 2.000 s on average",
        "  fail: 4 calls, 4 by fallback; 0.000 s on average",
    ]


async def test_C5_figures_of_one_are_told_as_of_one(autojump_clock):
    tries = iter([False, True])

    async def second_time(value):
        if not next(tries):
            raise ValueError(value)
        return value

    pipeline = Pipeline("p", number, Stage(second_time, number, retry=Retry(2)))
    await pipeline.run(2)
    whole, _, stage = str(pipeline.statistics()).splitlines()
    assert whole.startswith("1 run: 1 completed")
    assert stage == "  second_time: 1 call, 1 tried again; 0.000 s on average"


# ---- the counters themselves

moves = st.lists(st.tuples(st.sampled_from(["one loop", "another"]), st.booleans(), st.integers(0, 3)), max_size=30)


@given(moves)
def test_C5_the_ledger_of_runs_balances_whatever_loops_they_are_in(moves):
    """Each loop's clock is days away from the others'."""
    tally = Tally({"s": StageTally()})
    clocks = {"one loop": 0.0, "another": 1e6}
    going = dict.fromkeys(clocks, 0)
    busy = 0.0
    for loop, begins, seconds in moves:
        clocks[loop] += seconds
        busy += seconds if going[loop] else 0
        if begins:
            tally.began(loop, clocks[loop])
            going[loop] += 1
        elif going[loop]:
            tally.ended(loop, clocks[loop])
            going[loop] -= 1
            tally.completed_in(1.0, 1, 0.0, sequential=False)
    assert tally.statistics().running == sum(going.values())
    assert tally.total == tally.completed + sum(going.values())
    if not any(going.values()):
        assert tally.busy == pytest.approx(busy)
        assert tally.going == {}
