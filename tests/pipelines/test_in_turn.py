"""Pipelines in turns: each stage is a step, and a second try runs no finished stage again."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    Limit,
    Limits,
    MemoryStore,
    OutsideTurn,
    Retry,
    RuntimeConfig,
    SpaceOptions,
    SqliteStore,
    StepChanged,
    StepsUnused,
    StoreError,
    handler,
    open_runtime,
)
from spaceactors.pipelines import Batch, Cache, Input, OnError, Pipeline, Router, Stage, StageOutcome, UnknownRoute
from spaceactors.testing import open_test_runtime
from tests.pipelines.stage_jobs import count_all, die_once, double

pytestmark = pytest.mark.timeout(120)

text = Input(str)


class World:
    """What stages change outside; which fail, and how often; what a turn is to do, and how often it then crashes."""

    def __init__(self):
        self.done = []
        self.failing = {}
        self.crashes = 1
        self.pipelines = []
        self.results = []
        self.hold = None

    def stage(self, name, *inputs, wait=0.0, **options):
        async def work(*args):
            self.done.append(name)
            await trio.sleep(wait)
            if self.failing.get(name, 0):
                self.failing[name] -= 1
                raise LookupError(name)
            return f"{name}({', '.join(map(str, args))})"

        async def answer(*args):
            self.done.append(f"{name}'s fallback")
            return "fallback"

        if options.pop("answered", False):
            options["fallback"] = answer
        return Stage(work, *inputs, name=name, **options)

    def diamond(self):
        """Two stages side by side, and one after both."""
        left, right = self.stage("left", text, wait=1), self.stage("right", text, wait=2)
        return Pipeline("diamond", text, self.stage("both", left, right))


@pytest.fixture(params=["memory", "sqlite"])
def world(request, tmp_path):
    """What stages change, beside a store of either kind."""
    world = World()
    memory = request.param == "memory"
    world.store = MemoryStore(check_encoding=True) if memory else SqliteStore(tmp_path / "world.db")
    return world


class Clerk(Actor[tuple[str, ...]], kind="clerk"):
    """Runs pipelines in one turn, and crashes after them as often as the world wants."""

    options = SpaceOptions(backoff=None)

    def __init__(self, world: World) -> None:
        self.world = world

    @handler(max_attempts=5)
    async def work(self, value: str) -> str:
        results = [await self.run_pipeline(one, value) for one in self.world.pipelines]
        self.world.results = results
        if self.world.hold is not None:
            await self.world.hold.wait()
        if self.world.crashes:
            self.world.crashes -= 1
            raise OSError("after the pipelines")
        self.state = (*self.state, *(str(result.value) for result in results))
        return " ".join(map(str, self.state))

    @handler(max_attempts=5)
    async def work_and_step(self, value: str) -> str:
        before = await self.step("before", self.note, "before")
        [result] = [await self.run_pipeline(one, value) for one in self.world.pipelines]
        after = await self.step("after", self.note, "after")
        if self.world.crashes:
            self.world.crashes -= 1
            raise OSError("after the pipelines")
        return f"{before} {result.value} {after}"

    @handler(max_attempts=5)
    async def work_at_once(self, values: tuple[str, ...], *, named: bool, times: int = 1) -> str:
        found: dict[str, str] = {}

        async def run(value: str) -> None:
            for _ in range(times):
                result = await self.run_pipeline(self.world.pipelines[0], value, name=value if named else None)
                found[value] = result.value

        try:
            async with trio.open_nursery() as nursery:
                for value in values:
                    nursery.start_soon(run, value)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
        if self.world.crashes:
            self.world.crashes -= 1
            raise OSError("after the pipelines")
        return " ".join(found[value] for value in values)

    async def note(self, what: str) -> str:
        self.world.done.append(what)
        await trio.lowlevel.checkpoint()
        return what


@asynccontextmanager
async def opened(world):
    """Open a runtime in which it is an error to wait for ever, or to record a step that a later try does not want."""
    unused = []
    async with open_test_runtime(Clerk, deps=world, store=world.store) as runtime, trio.open_nursery() as nursery:

        async def watch():
            async with runtime.events() as events:
                async for event in events:
                    if isinstance(event, StepsUnused):
                        unused.append(event)  # noqa: PERF401  (it is cut off in the end)

        nursery.start_soon(watch)
        with trio.fail_after(1e6):
            yield runtime
        await runtime.settle()
        nursery.cancel_scope.cancel()
    assert unused == []


async def ask(world, *pipelines, value="x", method=Clerk.work):
    world.pipelines = pipelines
    async with opened(world) as runtime:
        return await runtime.space("a").ask(method, value)


# ---- what was done is not done again


async def test_C1_stages_of_a_turn_run_at_the_same_time(world):
    world.crashes = 0
    async with opened(world) as runtime:
        world.pipelines = [world.diamond()]
        before = trio.current_time()
        assert await runtime.space("a").ask(Clerk.work, "x") == "both(left(x), right(x))"
        assert trio.current_time() - before == pytest.approx(2)


async def test_a_second_try_runs_no_finished_stage_again(world):
    assert await ask(world, world.diamond()) == "both(left(x), right(x))"
    assert sorted(world.done) == ["both", "left", "right"]


async def test_a_second_try_runs_what_had_failed_and_what_needs_it(world):
    world.failing["both"] = 1
    world.crashes = 0
    await ask(world, world.diamond())
    assert sorted(world.done) == ["both", "both", "left", "right"]


async def test_a_stage_that_was_cancelled_for_another_s_failure_runs_in_the_second_try(world):
    world.failing["left"] = 1
    world.crashes = 0
    await ask(world, world.diamond())
    assert sorted(world.done) == ["both", "left", "left", "right", "right"]


async def test_a_second_try_after_a_kill_runs_no_finished_stage_again(world):
    world.pipelines = [world.diamond()]
    world.hold, world.crashes = trio.Event(), 0
    async with opened(world) as runtime:
        await runtime.space("a").send(Clerk.work, "x")
        await trio.sleep(10)
        await runtime.reopen()
        world.hold = None
        await runtime.settle()
        assert await runtime.space("a").state() == ("both(left(x), right(x))",)
    assert sorted(world.done) == ["both", "left", "right"]


async def test_a_kill_in_the_middle_keeps_what_was_finished(world):
    world.pipelines = [world.diamond()]
    world.crashes = 0
    async with opened(world) as runtime:
        await runtime.space("a").send(Clerk.work, "x")
        await trio.sleep(1.5)
        await runtime.reopen()
        await trio.sleep(5)
        assert await runtime.space("a").state() == ("both(left(x), right(x))",)
    assert sorted(world.done) == ["both", "left", "right", "right"]


@pytest.mark.parametrize("seed", range(6))
async def test_steps_before_and_after_keep_their_places_whichever_stage_ends_first(world, seed):
    """Which stage ends last differs from try to try; the steps of the turn's own task must not notice."""
    ways = [world.stage(name, text, wait=wait) for name, wait in (("a", 2), ("b", 1), ("c", 2))]
    world.pipelines = [Pipeline("p", text, world.stage("all", world.stage("ab", *ways[:2]), ways[2]))]
    world.crashes = 3
    async with open_test_runtime(Clerk, deps=world, store=world.store, seed=seed) as runtime:
        assert await runtime.space("a").ask(Clerk.work_and_step, "x") == "before all(ab(a(x), b(x)), c(x)) after"
    assert sorted(world.done) == ["a", "ab", "after", "all", "b", "before", "c"]


async def test_two_runs_of_one_pipeline_in_a_turn_are_recorded_apart(world):
    pipeline = world.diamond()
    assert (await ask(world, pipeline, pipeline)) == "both(left(x), right(x)) both(left(x), right(x))"
    assert sorted(world.done) == ["both"] * 2 + ["left"] * 2 + ["right"] * 2


@pytest.mark.parametrize("seed", range(4))
async def test_runs_in_several_tasks_of_a_turn_are_told_apart_by_their_names(world, seed):
    """Which of them begins first differs from try to try; neither may get what the other one recorded."""
    world.pipelines, world.crashes = [world.diamond()], 3
    async with open_test_runtime(Clerk, deps=world, store=world.store, seed=seed) as runtime:
        answer = await runtime.space("a").ask(Clerk.work_at_once, ("x", "y"), named=True)
    assert answer == "both(left(x), right(x)) both(left(y), right(y))"
    assert sorted(world.done) == ["both"] * 2 + ["left"] * 2 + ["right"] * 2


async def test_runs_in_several_tasks_of_a_turn_without_names_are_refused(world):
    world.pipelines = [world.diamond()]
    async with opened(world) as runtime:
        with pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Clerk.work_at_once, ("x", "y"), named=False)
    assert "another task of this turn runs 'diamond' too" in str(caught.value.__cause__)


async def test_one_task_beside_a_turn_s_own_may_run_a_pipeline_twice(world):
    world.pipelines = [world.diamond()]
    async with opened(world) as runtime:
        answer = await runtime.space("a").ask(Clerk.work_at_once, ("x",), named=False, times=2)
    assert answer == "both(left(x), right(x))"
    assert sorted(world.done) == ["both"] * 2 + ["left"] * 2 + ["right"] * 2


async def test_what_the_first_run_skipped_it_does_not_get_from_the_second(world):
    """In the first try the first run has no result of `needs`, and the second run has one; in the second try both."""
    calls = []

    async def broken(_text):
        calls.append("call")
        if len(calls) == 1:
            raise LookupError
        return f"call {len(calls)}"

    number = Stage(broken, text, on_error=OnError.SKIP)
    needs = world.stage("needs", number)
    pipeline = Pipeline("p", text, world.stage("last", text), beside=[needs])
    await ask(world, pipeline, pipeline)
    assert [result[number].value for result in world.results] == ["call 3", "call 2"]
    assert [result[needs].value for result in world.results] == ["needs(call 3)", "needs(call 2)"]


async def test_a_skipped_stage_has_no_result_and_runs_again_in_the_second_try(world):
    broken = world.stage("broken", text, on_error=OnError.SKIP)
    world.failing["broken"] = 2
    await ask(world, Pipeline("p", text, world.stage("last", text), beside=[broken]))
    assert sorted(world.done) == ["broken", "broken", "last"]
    assert world.results[0][broken].outcome is StageOutcome.SKIPPED


async def test_what_a_fallback_gave_is_recorded_too(world):
    world.failing["broken"] = 9
    assert await ask(world, Pipeline("p", text, world.stage("broken", text, answered=True))) == "fallback"
    assert world.done == ["broken", "broken's fallback"]


async def test_what_is_remembered_is_recorded_too(world):
    world.crashes = 2
    await ask(world, Pipeline("p", text, world.stage("kept", text, cache=Cache(ttl=0.001))))
    assert world.done == ["kept"]


async def test_what_the_store_cannot_keep_is_refused_at_the_stage(world, tmp_path):
    world.crashes = 0
    world.store = SqliteStore(tmp_path / "spaces.db")
    world.pipelines = [Pipeline("p", text, Stage(lambda _text: object(), text, name="odd", on_error=OnError.SKIP))]
    async with opened(world) as runtime:
        with pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Clerk.work, "x")
    assert "odd" in str(caught.value.__cause__)


# ---- pipelines inside


def nested(world, **options):
    inner = Pipeline("inner", text, world.stage("second", world.stage("first", text)))
    return Pipeline("outer", text, world.stage("last", Stage(inner, text, **options)))


async def test_a_pipeline_inside_records_its_own_stages(world):
    world.failing["second"] = 1
    world.crashes = 0
    await ask(world, nested(world))
    assert world.done == ["first", "second", "second", "last"]


async def test_a_pipeline_inside_that_is_remembered_is_one_step(world):
    await ask(world, nested(world, cache=Cache()))
    assert world.done == ["first", "second", "last"]


async def test_a_pipeline_inside_that_has_a_fallback_is_one_step(world):
    world.failing["second"] = 1
    await ask(world, nested(world, fallback=str.upper))
    assert world.done == ["first", "second", "last"]
    assert world.results[0].value == "last(X)"


async def test_a_pipeline_inside_that_is_tried_again_is_one_step(world):
    world.failing["second"] = 1
    await ask(world, nested(world, retry=Retry(2)))
    assert world.done == ["first", "second"] * 2 + ["last"]


async def test_batches_are_steps_as_well(world):
    assert await ask(world, Pipeline("p", text, Stage(len, Batch(world.stage("one", text), 3)))) == "1"
    assert world.done == ["one"]


# ---- routers


async def test_C2_a_router_s_choice_is_recorded(world):
    chosen = []

    def choose(value):
        chosen.append(value)
        return ("quick", "deep")[len(chosen) - 1]

    pipelines = {name: Pipeline(name, text, world.stage(name, text)) for name in ("quick", "deep")}
    assert await ask(world, Router(pipelines, choose=choose)) == "quick(x)"
    assert (chosen, world.done) == (["x"], ["quick"])


async def test_C2_a_space_that_chooses_is_asked_once(world):
    async def choose(value):
        return await runtime.space("desk").ask(Clerk.work, value)

    class Desk(Clerk, kind="clerk"):
        @handler
        async def work(self, value: str) -> str:
            self.world.done.append(f"asked {value}")
            return "only"

        @handler(max_attempts=2)
        async def route(self, value: str) -> str:
            result = await self.run_pipeline(router, value)
            if self.world.crashes:
                self.world.crashes -= 1
                raise OSError
            return result.value

    router = Router({"only": Pipeline("p", text, world.stage("only", text))}, choose=choose)
    async with open_test_runtime(Desk, deps=world) as runtime:
        assert await runtime.space("a").ask(Desk.route, "x") == "only(x)"
    assert world.done == ["asked x", "only"]


async def test_C2_a_recorded_choice_that_there_is_no_more_is_refused(world):
    async def step(_name, _work):
        return "gone"

    router = Router({"only": Pipeline("p", text, world.stage("only", text))}, choose=lambda _value: "only")
    with pytest.raises(UnknownRoute, match="'gone' was chosen by an earlier try, and is no route of 'router' now"):
        await router.run_in_turn("x", step, "router")


# ---- errors of others


async def test_a_store_that_fails_is_no_error_of_a_stage_to_be_skipped(world):
    """The stage had a result, which could not be recorded."""
    stage = world.stage("one", text, on_error=OnError.SKIP)
    pipeline = Pipeline("p", text, stage)

    async def step(_name, work):
        await work()
        raise StoreError("the disk is full")

    with pytest.raises(StoreError):
        await pipeline.run_in_turn("x", step, "p")
    assert pipeline.statistics().stages["one"].failed == 1


async def test_a_store_that_fails_inside_is_no_error_of_the_pipeline_inside_to_be_skipped(world):
    inner = Pipeline("inner", text, world.stage("one", text))
    nested = Stage(inner, text, on_error=OnError.SKIP)

    async def step(name, work):
        value = await work()
        if name == "p/inner/one":
            raise StoreError("the disk is full")
        return value

    pipeline = Pipeline("p", text, world.stage("other", text), beside=[nested])
    with pytest.raises(StoreError):
        await pipeline.run_in_turn("x", step, "p")


async def test_a_stage_inside_that_fails_is_skipped_with_its_pipeline(world):
    world.failing["one"] = 1
    nested = Stage(Pipeline("inner", text, world.stage("one", text)), text, on_error=OnError.SKIP)

    async def step(_name, work):
        return await work()

    pipeline = Pipeline("p", text, world.stage("other", text), beside=[nested])
    result = await pipeline.run_in_turn("x", step, "p")
    assert result[nested].outcome is StageOutcome.SKIPPED


async def test_a_changed_program_is_no_error_of_a_stage_to_be_skipped(world):
    async def step(_name, _work):
        raise StepChanged("the program has changed")

    with pytest.raises(StepChanged):
        await Pipeline("p", text, world.stage("one", text, on_error=OnError.SKIP)).run_in_turn("x", step, "p")


@pytest.mark.slow
async def test_C4_a_stage_whose_process_died_is_recorded_once_under_its_name(tmp_path):
    """So a second try finds it where it looks for it."""
    recorded = []

    async def step(name, work):
        value = await work()
        recorded.append((name, value))
        return value

    after = Stage(count_all, Stage(die_once, text, context="process"), text, name="after")
    result = await Pipeline("p", text, after).run_in_turn(str(tmp_path / "mark"), step, "p#2")
    assert recorded == [("p#2/die_once", 2), ("p#2/after", 2)]
    assert result.sequential


# ---- where it may be called


class Elsewhere(Actor):
    def __init__(self, world: World) -> None:
        self.world = world

    async def on_start(self) -> None:
        await self.attempt()

    @handler
    async def background(self) -> None:
        self.start_soon(self.attempt)

    @handler
    async def wrong(self) -> None:
        await self.run_pipeline(double, 1)

    async def attempt(self) -> None:
        try:
            await self.run_pipeline(self.world.pipelines[0], "x")
        except OutsideTurn as error:
            self.world.results.append(str(error))


async def test_hooks_and_background_work_are_no_turns_to_run_pipelines_in(world, autojump_clock):
    world.pipelines = [world.diamond()]
    async with open_runtime(Elsewhere, deps=world) as runtime:
        await runtime.space("a").ask(Elsewhere.background)
    in_hook, in_background = world.results
    assert in_hook == "a hook of a is a turn without a message, nothing is tried again: call run(...)"
    assert in_background.startswith("run_pipeline belongs to a turn of a")
    assert world.done == []


async def test_outside_a_turn_it_is_refused(world, autojump_clock):
    world.pipelines = [world.diamond()]
    actors = []

    class Leaking(Elsewhere):
        @handler
        async def leak(self) -> None:
            actors.append(self)

    async with open_runtime(Leaking, deps=world) as runtime:
        await runtime.space("a").ask(Leaking.leak)
        with pytest.raises(OutsideTurn):
            await actors[0].run_pipeline(world.pipelines[0], "x")


async def test_what_is_no_pipeline_is_refused(world, autojump_clock):
    world.pipelines = [world.diamond()]
    async with open_runtime(Elsewhere, deps=world) as runtime:
        with pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Elsewhere.wrong)
    assert str(caught.value.__cause__).startswith("run_pipeline(...) runs a Pipeline or a Router of spaceactors.pipel")


# ---- the end


async def test_C8_a_drain_finishes_the_pipeline_of_a_running_turn(world):
    world.pipelines, world.crashes = [world.diamond()], 0
    async with opened(world) as runtime:
        await runtime.space("a").send(Clerk.work, "x")
        await trio.sleep(0.5)
        report = await runtime.drain()
    assert report.clean
    assert sorted(world.done) == ["both", "left", "right"]


async def test_C8_at_the_deadline_of_a_drain_its_stages_are_cancelled(world):
    pipeline = world.diamond()
    world.pipelines, world.crashes = [pipeline], 0
    async with opened(world) as runtime:
        await runtime.space("a").send(Clerk.work, "x")
        await trio.sleep(0.5)
        report = await runtime.drain(1)
    assert not report.clean
    assert sorted(world.done) == ["left", "right"]
    assert (pipeline.statistics().cancelled, pipeline.statistics().running) == (1, 0)


# ---- limits and tokens


class Busy(Actor):
    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    @handler
    async def plain(self, value: str) -> str:
        return (await self.pipeline.run(value)).value

    @handler
    async def recorded(self, value: str) -> str:
        return (await self.run_pipeline(self.pipeline, value)).value

    @handler
    async def other(self) -> str:
        return "other"


ways = pytest.mark.parametrize("method", [Busy.plain, Busy.recorded])


@ways
async def test_stages_hold_the_limits_of_the_runtime(autojump_clock, method):
    running = []

    async def work(value):
        running.append(value)
        assert len(running) == 1
        await trio.sleep(1)
        running.remove(value)
        return value

    pipeline = Pipeline("p", text, Stage(work, text, limit="llm"))
    async with open_runtime(Busy, deps=pipeline, limits=[Limit("llm", 1)]) as runtime:
        async with trio.open_nursery() as nursery:
            for who in ("ann", "bob", "eve"):
                nursery.start_soon(runtime.space(who).ask, method, who)
        assert trio.current_time() == pytest.approx(3)


@pytest.mark.parametrize("routed", [False, True])
async def test_stages_of_a_turn_hold_limits_that_it_is_given(autojump_clock, routed):
    """In a runtime that has none of that name."""
    limits = Limits([Limit("llm", 1)])

    async def work(value):
        assert limits.statistics()["llm"].held == 1
        await trio.sleep(1)
        return value

    pipeline = Pipeline("p", text, Stage(work, text, limit="llm"))
    runs = Router({"only": pipeline}, choose=lambda _: "only") if routed else pipeline

    class Clerk(Actor):
        @handler
        async def work(self, value: str) -> str:
            return (await self.run_pipeline(runs, value, limits=limits)).value

    async with open_runtime(Clerk) as runtime, trio.open_nursery() as nursery:
        for who in ("ann", "bob"):
            nursery.start_soon(runtime.space(who).ask, Clerk.work, who)
    assert trio.current_time() == pytest.approx(2)


@ways
async def test_a_turn_whose_stages_wait_for_a_limit_lends_its_token(autojump_clock, method):
    pipeline = Pipeline("p", text, Stage(str.upper, text, limit="llm"))
    options = {"config": RuntimeConfig(max_turns=1), "limits": [Limit("llm", 1)]}
    async with (
        open_runtime(Busy, deps=pipeline, **options) as runtime,
        trio.open_nursery() as nursery,
        runtime.limits.hold("llm"),
    ):
        nursery.start_soon(partial(runtime.space("ann").ask, method, "x"))
        await trio.sleep(1)
        with trio.fail_after(1):
            assert await runtime.space("bob").ask(Busy.other) == "other"


@ways
async def test_a_turn_whose_stage_asks_a_space_lends_its_token(autojump_clock, method):
    async def consult(_value):
        return await runtime.space("bob").ask(Busy.other)

    pipeline = Pipeline("p", text, Stage(count_all, Stage(consult, text), Stage(consult, text, name="too"), name="n"))
    async with open_runtime(Busy, deps=pipeline, config=RuntimeConfig(max_turns=1)) as runtime:
        with trio.fail_after(1):
            assert await runtime.space("ann").ask(method, "x") == 2
