"""What holds of every run, whatever the pipeline, whatever fails, under whatever schedule, however it is cut off."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from spaceactors import Limit, Limits, Retry
from spaceactors.pipelines import Cache, ContextUnavailable, Input, OnError, Pipeline, Stage, StageOutcome, WorkerLost
from supervisors.testing import seed_schedule
from tests.pipelines.stage_jobs import LossyPool

pytestmark = pytest.mark.timeout(300)

number = Input(int)


class Broken(Exception):
    """Raised by a stage that is meant to fail."""


class World:
    """What the stages of one pipeline do, and what is seen of it."""

    def __init__(self):
        self.began = []
        self.going = Counter()
        self.ended = set()

    def work(self, name, needs, plan, *, is_fallback=False):
        """A function that takes its time and fails as planned; it sees to it that its inputs were there first."""
        left = plan["failures"]

        async def work(*args):
            nonlocal left
            self.began.append(name)
            self.going[name] += 1
            try:
                assert needs <= self.ended
                assert len(args) == plan["inputs"]
                await trio.sleep(plan["seconds"])
            finally:
                self.going[name] -= 1
            if left and not is_fallback:
                left -= 1
                raise Broken(name)
            self.ended.add(name)
            return name

        return work


plans = st.fixed_dictionaries(
    {
        "seconds": st.sampled_from([0, 0, 1, 2]),
        "failures": st.sampled_from([0, 0, 0, 1, 9]),
        "inputs": st.integers(1, 3),
        "on_error": st.sampled_from(OnError),
        "retry": st.sampled_from([None, None, Retry(2)]),
        "timeout": st.sampled_from([None, None, 1.5]),
        "limit": st.sampled_from([None, None, "one", "two"]),
        "cache": st.sampled_from([None, None, Cache()]),
        "fallback": st.booleans(),
        "context": st.sampled_from([None, None, "inline", "far"]),
    }
)


@st.composite
def worlds(draw):
    """A world, and a pipeline of which all stages run."""
    world, stages = World(), [number]
    for index, plan in enumerate(draw(st.lists(plans, min_size=1, max_size=7))):
        name = f"s{index}"
        inputs = [stages[draw(st.integers(0, len(stages) - 1))] for _ in range(plan["inputs"])]
        needs = {one.name for one in inputs} - {"input"}
        options = {option: plan[option] for option in ("on_error", "retry", "timeout", "limit", "cache", "context")}
        if plan["fallback"]:
            options["fallback"] = world.work(name, needs, plan, is_fallback=True)
        stages.append(Stage(world.work(name, needs, plan), *inputs, name=name, **options))
    return world, Pipeline("random", number, stages[-1], beside=stages[1:-1])


losses = st.lists(st.sampled_from([WorkerLost, ContextUnavailable]), max_size=5)
# What may come out of a run: what stages raise, and what comes of contexts that are lost again and again.
ERRORS = (Broken, trio.TooSlowError, WorkerLost, ContextUnavailable)


def play(main, seed):
    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))


@given(worlds(), st.booleans(), st.sampled_from([None, 0, 0.5, 1, 2.5]), losses, st.integers(0, 2**16))
def test_C1_C4_every_run_ends_with_all_it_began_ended_and_counted(drawn, sequential, cut, failures, seed):
    world, pipeline = drawn
    pool = LossyPool(failures)
    limits = Limits([Limit("one", 1), Limit("two", 2)])
    results = []

    async def main():
        with (
            trio.fail_after(1000),
            trio.move_on_after(1e9 if cut is None else cut),
            suppress(*ERRORS),
        ):
            results.append(await pipeline.run(1, sequential=sequential, limits=limits, contexts=pool))
        assert not any(world.going.values())
        assert all(one.held == 0 for one in limits.statistics().values())

    play(main, seed)
    figures = pipeline.statistics()
    assert figures.total == (cut != 0) == figures.completed + figures.failed + figures.cancelled
    assert figures.completed == len(results)
    assert (figures.running, pipeline._tally.now) == (0, 0)
    if cut is None:
        assert figures.cancelled == 0
    for result in results:
        if result.infrastructure is not None:
            assert pool.failed > 0
            assert result.sequential
        check(pipeline, result, world)


def check(pipeline, result, world):
    """Each stage has one result; it has a value, or is skipped for its own error or for what it needs."""
    stages = pipeline._graph.stages[1:]
    assert [*result.stages()] == [stage.name for stage in stages]
    for stage in stages:
        found = result[stage]
        needs_skipped = any(result[one].outcome is StageOutcome.SKIPPED for one in stage.inputs if one is not number)
        if found.outcome is StageOutcome.SKIPPED:
            assert needs_skipped or stage._rules.on_error is OnError.SKIP
            assert found.error is not None
        else:
            assert not needs_skipped
            assert found.value == stage.name
            assert (found.error is None) == (found.outcome is not StageOutcome.FALLBACK)
        if needs_skipped:
            assert stage.name not in world.began
        for one in stage.inputs:
            if one is not number and not needs_skipped:
                assert found.began >= result[one].began + result[one].seconds


@given(worlds(), st.integers(0, 2**16))
def test_C4_in_sequence_no_two_stages_run_at_once(drawn, seed):
    world, pipeline = drawn

    async def main():
        with suppress(*ERRORS):
            result = await pipeline.run(1, sequential=True, contexts=LossyPool([]))
            assert result.parallel_share == 0

    play(main, seed)
    assert pipeline.statistics().at_once == min(1, len(world.began))


@given(worlds(), st.integers(0, 2**16))
def test_C10_many_requests_at_once_all_end(drawn, seed):
    _, pipeline = drawn
    pool = LossyPool([WorkerLost, ContextUnavailable] * 3)
    limits = Limits([Limit("one", 1), Limit("two", 2)])

    async def ask(cut):
        with trio.move_on_after(cut), suppress(*ERRORS):
            await pipeline.run(1, limits=limits, contexts=pool)

    async def main():
        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                for cut in (1e9, 1e9, 1e9, 0.5, 1.2):
                    nursery.start_soon(ask, cut)

    play(main, seed)
    figures = pipeline.statistics()
    assert figures.total == 5 == figures.completed + figures.failed + figures.cancelled
    assert all(one.held == 0 for one in limits.statistics().values())
