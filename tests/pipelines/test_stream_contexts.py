"""D6, D7: stages of a stream in threads and processes, those beside one together with it; and nothing of it left."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest
import trio

from spaceactors import Actor, Limit, Limits, Retry, handler, open_runtime
from spaceactors.pipelines import (
    ContextSpec,
    Input,
    NotSendable,
    OnError,
    Pipeline,
    Sink,
    Stage,
    WorkerLost,
    open_context_pool,
)
from tests.pipelines.stream_jobs import (
    Odd,
    async_square,
    die_at_three,
    die_once,
    double,
    increment,
    is_lock,
    later_double,
    nap,
    odd_only,
    square,
    unsendable,
    where_too,
    whereabouts,
)

number = Input(int)
elsewhere = pytest.mark.parametrize("context", ["thread", "process"])


def busy_threads():
    """Return the threads but for Trio's own, which wait for ten seconds whether there is more to do."""
    return {one.name for one in threading.enumerate() if not one.name.startswith("Trio thread")}


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def all_of(pipeline, source, **options):
    async with pipeline.open(source, **options) as stream:
        return [result async for result in stream]


async def test_what_another_place_at_home_gives_to_be_awaited_is_awaited():
    def later(value: int):
        return async_square(value)

    pipeline = Pipeline("p", number, Stage(later, Stage(increment, number, context="home")))
    async with open_context_pool(ContextSpec("home", "inline")) as contexts:
        assert await all_of(pipeline, range(3), contexts=contexts) == [1, 4, 9]


def chain(context, *fns):
    stage = number
    for place, fn in enumerate(fns):
        stage = Stage(fn, stage, name=f"s{place}", context=None if place else context)
    return Pipeline("p", number, stage)


@elsewhere
async def test_D6_a_stage_runs_where_it_is_told_to(context):
    [(pid, thread)] = await all_of(chain(context, whereabouts), [1])
    assert (pid != os.getpid()) == (context == "process")
    assert thread != threading.get_ident()


@elsewhere
async def test_D6_stages_beside_it_go_there_with_it_as_one(context):
    pipeline = chain(context, whereabouts, where_too)
    assert len(pipeline.plan.groups()) == 1
    [(first, second)] = await all_of(pipeline, [1])
    assert first == second


@elsewhere
async def test_D6_a_chain_elsewhere_gives_what_its_functions_give(context):
    assert await all_of(chain(context, increment, double, square), range(5)) == [4, 16, 36, 64, 100]


async def test_what_is_between_two_stages_beside_each_other_need_not_be_sendable():
    assert await all_of(chain("process", unsendable, is_lock), [1]) == [True]


@elsewhere
async def test_a_function_in_a_chain_may_give_something_to_await_without_saying_so(context):
    assert await all_of(chain(context, increment, later_double, square), range(3)) == [4, 16, 36]
    assert await all_of(chain(context, increment, later_double), range(3)) == [2, 4, 6]


@elsewhere
async def test_results_of_a_chain_that_others_take_come_back_too(context):
    first = Stage(increment, number, context=context)
    second = Stage(double, first)

    async def join(one: int, other: int) -> tuple[int, int]:
        return one, other

    pipeline = Pipeline("p", number, Stage(join, first, second))
    assert await all_of(pipeline, range(3)) == [(1, 2), (2, 4), (3, 6)]


@elsewhere
async def test_D7_the_error_of_a_stage_in_a_chain_tells_which(context):
    with pytest.raises(Odd) as caught:
        await all_of(chain(context, increment, odd_only, double), [0, 1])
    assert caught.value.__notes__.count("in stage 's1' of pipeline 'p'") == 1
    assert "in stage 's0' of pipeline 'p'" not in caught.value.__notes__


@elsewhere
async def test_a_stage_elsewhere_may_be_skipped(context):
    stage = Stage(odd_only, number, context=context, on_error=OnError.SKIP, concurrency=2)
    pipeline = Pipeline("p", number, Stage(double, stage))
    assert await all_of(pipeline, range(6)) == [2, 6, 10]


@elsewhere
async def test_several_at_once_elsewhere_keep_the_order(context):
    pipeline = Pipeline("p", number, Stage(nap, number, context=context, concurrency=2))
    assert await all_of(pipeline, range(20)) == list(range(20))


async def test_an_async_stage_runs_in_a_loop_of_its_own_there():
    assert await all_of(chain("thread", async_square), range(4)) == [0, 1, 4, 9]


# ---- a process that dies


async def test_D7_a_process_that_dies_is_a_clear_error_that_tells_the_stage():
    with pytest.raises(WorkerLost) as caught:
        await all_of(chain("process", die_at_three), range(10))
    assert caught.value.__notes__ == ["in stage 's0' of pipeline 'p'"]


async def test_D7_a_process_that_dies_under_a_chain_tells_the_stages():
    with pytest.raises(WorkerLost) as caught:
        await all_of(chain("process", die_at_three, increment), range(10))
    assert caught.value.__notes__ == ["in one of the stages 's0', 's1' of pipeline 'p'"]


async def test_D7_a_process_that_dies_costs_one_item_where_the_stage_may_be_skipped():
    stage = Stage(die_at_three, number, context="process", on_error=OnError.SKIP)
    async with Pipeline("p", number, stage).open(range(6)) as stream:
        assert [result async for result in stream] == [0, 1, 2, 4, 5]
    [skipped] = stream.skipped
    assert isinstance(skipped.error, WorkerLost)


async def test_D7_a_process_that_dies_is_tried_again(tmp_path):
    path = Input(str)
    pipeline = Pipeline("p", path, Stage(die_once, path, context="process", retry=Retry(2)))
    assert await all_of(pipeline, [str(tmp_path / "runs")]) == [2]


async def test_a_result_that_cannot_be_sent_is_a_clear_error_that_tells_the_stage():
    with pytest.raises(NotSendable) as caught:
        await all_of(chain("process", unsendable), [1])
    assert caught.value.__notes__ == ["in stage 's0' of pipeline 'p'"]


# ---- what is left


@elsewhere
async def test_D7_no_thread_and_no_process_is_left_when_a_stream_is_cut_off(context):
    await all_of(chain(context, nap), [1])  # what starts once in a program has started
    threads, files = busy_threads(), open_files()
    with trio.move_on_after(0.2):
        await chain(context, nap).process(range(10**6))
    assert multiprocessing.active_children() == []
    assert open_files() <= files
    assert busy_threads() <= threads


async def test_a_pool_of_others_is_used_and_stays_open():
    pids = set()
    async with open_context_pool(ContextSpec("parsing", "process", size=1)) as pool:
        for _ in range(2):
            pipeline = Pipeline("p", number, Stage(whereabouts, number, context="parsing"))
            pids |= {pid for pid, _ in await all_of(pipeline, [1], contexts=pool)}
    assert len(pids) == 1
    assert pids != {os.getpid()}


# ---- limits


async def test_limits_bound_how_many_items_are_worked_on(autojump_clock):
    running = most = 0

    async def work(value: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        return value

    one = Stage(work, number, name="one", concurrency=4, limit="llm")
    other = Stage(work, number, name="other", concurrency=4, limit="llm")
    pipeline = Pipeline("p", number, Stage(increment, one), beside=[other])
    await pipeline.process(range(9), limits=Limits([Limit("llm", 3)]))
    assert most == 3
    assert trio.current_time() == 6


@pytest.mark.parametrize("way", ["turn", "background"])
async def test_a_stream_in_an_actor_holds_the_limits_of_its_runtime(way, autojump_clock):
    running = most = 0

    async def work(value: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        return value

    pipeline = Pipeline("p", number, Sink(work, number, concurrency=4, limit="llm"))
    done = []

    class Worker(Actor):
        @handler
        async def work(self, items: int) -> int:
            if way == "turn":
                return (await pipeline.process(range(items))).delivered
            self.start_soon(self.later, items)
            return items

        async def later(self, items: int) -> None:
            done.append((await pipeline.process(range(items))).delivered)

    async with open_runtime(Worker, limits=[Limit("llm", 2)]) as runtime:
        assert await runtime.space("a").ask(Worker.work, 6) == 6
        await trio.sleep(0.5)
    assert most == 2
    assert done == ([] if way == "turn" else [6])


async def test_a_turn_finishes_its_stream_while_its_runtime_drains(autojump_clock):
    async def work(value: int) -> None:
        await trio.sleep(1)

    pipeline = Pipeline("p", number, Sink(work, number))
    answers = []

    class Worker(Actor):
        @handler
        async def work(self, items: int) -> int:
            return (await pipeline.process(range(items))).delivered

    async def ask(items):
        answers.append(await runtime.space("a").ask(Worker.work, items))

    async with open_runtime(Worker) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, 5)
        nursery.start_soon(ask, 5)
        await trio.sleep(2.5)
        await runtime.drain(60)
    assert answers == [5, 5]
