"""What stages remember, and calls that several ask for at once: FEATURES C10."""

from __future__ import annotations

import gc
import threading
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import Actor, Limit, Limits, RuntimeConfig, handler, open_runtime
from spaceactors.pipelines import (
    Cache,
    ContextUnavailable,
    Input,
    OnError,
    Pipeline,
    PipelineError,
    Stage,
    StageOutcome,
)
from spaceactors.pipelines._remember import Memory
from tests.pipelines.stage_jobs import LossyPool, count_all, double

pytestmark = pytest.mark.timeout(120)

question = Input(str)


class Source:
    """A slow source of answers that counts how often it was asked."""

    def __init__(self, seconds=1.0):
        self.asked = []
        self.seconds = seconds
        self.error = None

    async def answer(self, key):
        self.asked.append(key)
        await trio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return [key]

    def pipeline(self, *, cache=None, **options):
        self.stage = Stage(self.answer, question, cache=Cache() if cache is None else cache, **options)
        return Pipeline("p", question, self.stage)


@pytest.fixture
def source():
    return Source()


async def ask_many(pipeline, keys):
    """Ask for all at once; return the results in the order of the keys."""
    found = [None] * len(keys)

    async def ask(place, key):
        found[place] = await pipeline.run(key)

    async with trio.open_nursery() as nursery:
        for place, key in enumerate(keys):
            nursery.start_soon(ask, place, key)
    return found


# ---- remembering


async def test_C10_a_result_is_remembered(autojump_clock, source):
    pipeline = source.pipeline()
    first, second = await pipeline.run("x"), await pipeline.run("x")
    assert source.asked == ["x"]
    assert second.value is first.value
    outcomes = [result[source.stage].outcome for result in (first, second)]
    assert outcomes == [StageOutcome.DONE, StageOutcome.CACHED]
    assert second.seconds == 0.0


async def test_C10_other_arguments_are_asked_for(autojump_clock, source):
    pipeline = source.pipeline()
    for key in ("x", "y", "x"):
        await pipeline.run(key)
    assert source.asked == ["x", "y"]


async def test_C10_a_result_is_good_for_its_time_and_not_longer(autojump_clock, source):
    pipeline = source.pipeline(cache=Cache(ttl=10))
    await pipeline.run("x")
    await trio.sleep(9.9)
    await pipeline.run("x")
    assert source.asked == ["x"]
    await trio.sleep(0.2)
    await pipeline.run("x")
    assert source.asked == ["x", "x"]


async def test_C10_the_result_used_longest_ago_goes_first(autojump_clock, source):
    pipeline = source.pipeline(cache=Cache(size=2))
    for key in ("x", "y", "x", "z", "x", "y"):
        await pipeline.run(key)
    assert source.asked == ["x", "y", "z", "y"]


async def test_C10_a_key_tells_which_arguments_are_the_same(autojump_clock, source):
    pipeline = source.pipeline(cache=Cache(key=str.lower))
    await pipeline.run("Trio")
    assert (await pipeline.run("TRIO")).value == ["Trio"]
    assert source.asked == ["Trio"]


async def test_C10_a_key_is_made_of_all_arguments(autojump_clock, source):
    numbers = Input(int)
    calls = []

    def noted(one, other):
        calls.append((one, other))
        return one + other

    stage = Stage(noted, numbers, Stage(double, numbers), cache=Cache(key=lambda one, other: (one + other) % 2))
    pipeline = Pipeline("p", numbers, stage)
    for value in (2, 4, 1):
        await pipeline.run(value)
    assert calls == [(2, 4), (1, 2)]


async def test_C10_arguments_that_are_not_hashable_are_refused_with_the_remedy(autojump_clock, source):
    with pytest.raises(PipelineError) as caught:
        await source.pipeline().run(["x"])
    assert str(caught.value) == (
        "stage 'answer' cannot be remembered by what is not hashable (unhashable type: 'list'): "
        "give Cache(key=...) a function whose result is"
    )


async def test_C10_a_key_that_is_not_hashable_is_refused_with_the_remedy(autojump_clock, source):
    with pytest.raises(PipelineError, match="have the key function return something that is"):
        await source.pipeline(cache=Cache(key=list)).run("x")


async def test_C10_what_a_fallback_gives_is_not_remembered(autojump_clock, source):
    source.error = OSError()
    pipeline = source.pipeline(fallback=str.upper)
    for _ in range(2):
        assert (await pipeline.run("x")).value == "X"
    assert source.asked == ["x", "x"]


async def test_C10_none_can_be_remembered(autojump_clock):
    calls = []
    stage = Stage(calls.append, question, cache=Cache())
    pipeline = Pipeline("p", question, stage)
    for _ in range(2):
        assert (await pipeline.run("x")).value is None
    assert calls == ["x"]


async def test_C10_what_a_stage_gave_in_a_thread_for_want_of_its_context_is_remembered(autojump_clock, source):
    pipeline = source.pipeline(context="far")
    pool = LossyPool([ContextUnavailable] * 2)
    for _ in range(2):
        result = await pipeline.run("x", contexts=pool)
    assert (source.asked, result[source.stage].outcome) == (["x"], StageOutcome.CACHED)


async def test_C10_two_pipelines_do_not_share_what_a_stage_remembers(autojump_clock, source):
    source.pipeline()
    pipelines = [Pipeline(name, question, source.stage) for name in ("one", "other")]
    for pipeline in pipelines:
        await pipeline.run("x")
    assert source.asked == ["x", "x"]


async def test_C10_a_pipeline_inside_is_remembered_as_a_whole(autojump_clock, source):
    inner = source.pipeline(cache=Cache(key=id))
    outer = Pipeline("outer", question, Stage(inner, question, cache=Cache()))
    for _ in range(2):
        await outer.run("x")
    assert inner.statistics().total == 1


def test_C10_what_one_run_of_trio_remembers_the_next_may_use_or_forget_but_not_keep_too_long():
    source = Source()
    pipeline = source.pipeline(cache=Cache(ttl=10))
    for _ in range(3):
        trio.run(pipeline.run, "x", clock=trio.testing.MockClock(autojump_threshold=0))
    assert set(source.asked) == {"x"}


# ---- one call for all who ask at once


async def test_C10_a_hundred_who_ask_at_once_make_one_call(autojump_clock, source):
    pipeline = source.pipeline()
    results = await ask_many(pipeline, ["x"] * 100)
    assert source.asked == ["x"]
    assert {id(result.value) for result in results} == {id(results[0].value)}
    assert trio.current_time() == pytest.approx(1)
    assert pipeline.statistics().stages["answer"].cached == 99


async def test_C10_those_who_ask_for_other_things_do_not_wait_for_each_other(autojump_clock, source):
    await ask_many(source.pipeline(), ["x", "y"] * 10)
    assert sorted(source.asked) == ["x", "y"]
    assert trio.current_time() == pytest.approx(1)


async def test_C10_one_call_at_once_also_where_nothing_is_remembered_for_long(autojump_clock, source):
    await ask_many(source.pipeline(cache=Cache(size=1, ttl=0.001)), ["x"] * 10)
    assert source.asked == ["x"]


async def test_C10_an_error_is_shared_and_not_kept(autojump_clock, source):
    source.error = OSError("offline")
    pipeline = source.pipeline(on_error=OnError.SKIP)
    results = await ask_many(pipeline, ["x"] * 20)
    assert {result[source.stage].error for result in results} == {source.error}
    assert source.asked == ["x"]
    source.error = None
    assert (await pipeline.run("x")).value == ["x"]


async def test_C10_an_error_that_many_share_does_not_grow(autojump_clock, source):
    source.error = OSError("offline")
    await ask_many(source.pipeline(on_error=OnError.SKIP), ["x"] * 50)
    trace, depth = source.error.__traceback__, 0
    while trace is not None:
        trace, depth = trace.tb_next, depth + 1
    assert depth < 30
    assert source.error.__notes__ == ["in stage 'answer' of pipeline 'p'"]


async def test_C10_if_who_makes_the_call_is_cancelled_another_makes_it_anew(autojump_clock, source):
    pipeline = source.pipeline()
    scopes, found = [], []

    async def ask():
        with trio.CancelScope() as scope:
            scopes.append(scope)
            found.append((await pipeline.run("x")).value)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await trio.sleep(0.5)
        for scope in scopes[:2]:  # among them who makes the call, or who would be next
            scope.cancel()
    assert len(found) in {3, 4}
    assert 1 <= len(source.asked) <= 3


async def test_C10_each_who_makes_the_call_may_be_cancelled_in_turn(autojump_clock, source):
    pipeline = source.pipeline()
    leaders, found = [], []

    async def answer(_key):
        leaders.append(scopes[trio.lowlevel.current_task()])
        await trio.sleep(1)
        return "there"

    scopes = {}
    stage = Stage(answer, question, cache=Cache())
    pipeline = Pipeline("p", question, stage)

    async def ask():
        with trio.CancelScope() as scope:
            scopes[trio.lowlevel.current_task()] = scope
            found.append((await pipeline.run("x")).value)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)
        for place in range(3):
            await trio.sleep(0.5)
            leaders[place].cancel()
    assert found == ["there"]
    assert trio.current_time() == pytest.approx(2.5)


async def test_C10_one_who_waits_and_is_cancelled_disturbs_nobody(autojump_clock, source):
    pipeline = source.pipeline()

    async def impatient():
        with trio.move_on_after(0.5):
            await pipeline.run("x")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run, "x")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(impatient)
    assert source.asked == ["x"]


async def test_C10_a_call_that_the_program_s_end_cuts_off_is_no_answer(autojump_clock, source):
    source.error = KeyboardInterrupt()
    pipeline = source.pipeline()
    with pytest.raises(KeyboardInterrupt):
        await pipeline.run("x")
    source.error = None
    assert (await pipeline.run("x")).value == ["x"]


async def test_C10_nothing_is_left_of_calls_that_are_over(autojump_clock, source):
    pipeline = source.pipeline(cache=Cache(size=1))
    await ask_many(pipeline, [str(key) for key in range(20)])
    flights = pipeline._calls[1]._flights
    assert (len(flights._going), len(flights._memory)) == (0, 1)


async def test_C10_who_waits_holds_no_limit(autojump_clock, source):
    pipeline = source.pipeline(limit="llm")
    limits = Limits([Limit("llm", 1)])
    async with trio.open_nursery() as nursery:
        for key in "xxxxy":
            nursery.start_soon(partial(pipeline.run, key, limits=limits))
    assert trio.current_time() == pytest.approx(2)


async def test_C10_a_call_that_asks_for_itself_says_so_instead_of_waiting_for_ever(autojump_clock):
    async def again(key):
        return (await pipeline.run(key)).value

    pipeline = Pipeline("p", question, Stage(again, question, cache=Cache()))
    with pytest.raises(PipelineError, match="stage 'again' needs, to be remembered, what it is just working out"):
        await pipeline.run("x")


async def test_C10_a_call_that_asks_for_itself_in_a_task_below_says_so_too(autojump_clock):
    async def again(key):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipeline.run, key)

    pipeline = Pipeline("p", question, Stage(count_all, Stage(again, question, cache=Cache()), question))
    with pytest.raises(ExceptionGroup) as caught:
        await pipeline.run("x")
    assert isinstance(caught.value.exceptions[0], PipelineError)


@pytest.mark.parametrize("members", [2, 3])
async def test_C10_calls_that_wait_for_each_other_in_a_ring_say_so_instead_of_waiting_for_ever(autojump_clock, members):
    async def next_one(value):
        await trio.sleep(1)
        return (await pipeline.run((value + 1) % members)).value

    refused = []

    async def ask(value):
        with pytest.raises(PipelineError, match="it asks for itself"):
            await pipeline.run(value)
        refused.append(value)

    pipeline = Pipeline("p", question, Stage(next_one, question, cache=Cache()))
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for value in range(members):
                nursery.start_soon(ask, value)
    assert sorted(refused) == list(range(members))


async def test_C10_who_no_longer_waits_for_a_call_is_in_no_ring_with_it(autojump_clock):
    async def first(key):
        with trio.move_on_after(1):
            await pipeline.run("second")
        await trio.sleep(3)
        return key

    async def second(key):
        await trio.sleep(2)
        return (await pipeline.run("first")).value

    async def either(key):
        return await {"first": first, "second": second}[key](key)

    pipeline = Pipeline("p", question, Stage(either, question, cache=Cache()))
    results = await ask_many(pipeline, ["second", "first"])
    assert [result.value for result in results] == ["first", "first"]


async def test_C10_a_task_that_a_call_starts_elsewhere_may_wait_for_it(autojump_clock):
    found = []

    async def later(key):
        found.append((await pipeline.run(key)).value)

    async with trio.open_nursery() as nursery:

        async def starts(key):
            nursery.start_soon(later, key)
            await trio.sleep(1)
            return key

        pipeline = Pipeline("p", question, Stage(starts, question, cache=Cache()))
        await pipeline.run("x")
    assert found == ["x"]


async def test_C10_calls_inside_each_other_for_other_things_are_fine(autojump_clock):
    async def shorter(key):
        return len(key) if len(key) < 2 else (await pipeline.run(key[1:])).value + 1

    pipeline = Pipeline("p", question, Stage(shorter, question, cache=Cache()))
    assert (await pipeline.run("abcdef")).value == 6


def test_C10_two_threads_make_a_call_each_and_none_waits_for_the_other():
    meet = threading.Barrier(2)

    async def answer(key):
        await trio.to_thread.run_sync(meet.wait)
        return key

    pipeline = Pipeline("p", question, Stage(answer, question, cache=Cache()))
    found = []
    threads = [threading.Thread(target=lambda: found.append(trio.run(pipeline.run, "x").value)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["x", "x"]


# ---- turns that share a call


class Reader(Actor):
    """Turns of several spaces that want the same; whoever makes the call asks another space on the way."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    @handler
    async def read(self, key: str) -> list[str]:
        return (await self.run_pipeline(self.pipeline, key)).value

    @handler
    async def read_plainly(self, key: str) -> list[str]:
        return (await self.pipeline.run(key)).value

    @handler
    async def fetch(self, key: str) -> str:
        await trio.sleep(1)
        return key


@pytest.mark.parametrize("method", [Reader.read, Reader.read_plainly])
async def test_C10_turns_that_share_a_call_do_not_stand_still_where_one_turn_runs_at_a_time(autojump_clock, method):
    asked = []

    async def fetch(key):
        asked.append(key)
        return await runtime.space("library").ask(Reader.fetch, key)

    pipeline = Pipeline("p", question, Stage(fetch, question, cache=Cache()))
    config = RuntimeConfig(max_turns=1)
    found = []

    async def ask(who):
        found.append(await runtime.space(who).ask(method, "x"))

    with trio.fail_after(60):
        async with open_runtime(Reader, deps=pipeline, config=config) as runtime, trio.open_nursery() as nursery:
            for who in ("ann", "bob", "eve"):
                nursery.start_soon(ask, who)
    assert (asked, found) == (["x"], ["x"] * 3)


@pytest.mark.parametrize("method", [Reader.read, Reader.read_plainly])
async def test_C10_turns_that_share_a_call_which_waits_for_a_limit_do_not_stand_still(autojump_clock, method):
    source, found = Source(), []
    pipeline = source.pipeline(limit="llm")
    options = {"config": RuntimeConfig(max_turns=1), "limits": [Limit("llm", 1)]}

    async def ask(who):
        found.append(await runtime.space(who).ask(method, "x"))

    with trio.fail_after(60):
        async with open_runtime(Reader, deps=pipeline, **options) as runtime, trio.open_nursery() as nursery:
            async with runtime.limits.hold("llm"):
                for who in ("ann", "bob", "eve"):
                    nursery.start_soon(ask, who)
                await trio.sleep(5)
            assert source.asked == []
    assert (source.asked, found) == (["x"], [["x"]] * 3)


# ---- the memory itself


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.integers(0, 4)), max_size=40),
    st.integers(1, 3),
    st.sampled_from([5.0, float("inf")]),
)
def test_C10_the_memory_is_a_bounded_one_of_what_is_fresh(moves, size, ttl):
    memory = Memory(size, ttl)
    now, used = 0.0, {}  # key -> (value, good until), used last last
    for number, (key, keeps, wait) in enumerate(moves):
        now += wait
        if keeps:
            memory.keep(key, number, now)
            used.pop(key, None)
            used[key] = (number, now + ttl)
            if len(used) > size:
                del used[next(iter(used))]
        else:
            expected = used.pop(key, None)
            good = expected is not None and now < expected[1]
            if good:
                used[key] = expected
            assert memory.find(key, now) == ((expected[0],) if good else None)
        assert len(memory) == len(used) <= size


def test_C10_a_result_kept_by_a_clock_far_ahead_is_no_result():
    memory = Memory(10, 5.0)
    memory.keep("x", 1, 1e6)
    assert memory.find("x", 3.0) is None


async def test_C10_what_is_forgotten_is_free(autojump_clock):
    class Big:
        pass

    def big(_key):
        return Big()

    pipeline = Pipeline("p", question, Stage(big, question, cache=Cache(size=2)))
    for key in range(20):
        await pipeline.run(key)
    gc.collect()
    assert sum(isinstance(one, Big) for one in gc.get_objects()) == 2
