"""Whatever tasks and others do: conflicting ones never meet, no slot is waited in, and everything ends.

Random tasks that fail, hang, are cut off, cancelled and tried again, beside others who use the same locks and limits,
in managers that are left, broken off, cancelled and drained; on seeded schedules.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial
from math import inf

import pytest
import trio
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from spaceactors import Retry
from spaceactors.tasks import Task, TasksClosed, TaskStatus, open_task_manager, progress
from spaceactors.tasks._job import Stage
from supervisors import CapacityError, ChildSpec, Limit, Limits, Locks, Priority, RateLimit, open_supervisor
from supervisors._lock_names import claims_of, conflicts
from supervisors.testing import seed_schedule

NAMES = ["dir:.", "dir:a", "dir:a/b", "file:a/b/c", "file:a/d", "file:e", "x", "y"]
WANTS = st.dictionaries(st.sampled_from(NAMES), st.booleans(), max_size=3)
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 2.0])
TOKENS = {"llm": 1, "gpu": 2}


class Crash(Exception):
    pass


@frozen
class Act:
    """What one task does."""

    wants: dict[str, bool]
    limits: frozenset[str]
    seconds: float
    how: str
    priority: Priority
    timeout: float | None
    retry: bool
    # Inside it takes these too, if any: what one should not do.
    nested: dict[str, bool]


@frozen
class Batch:
    """Some tasks that are handed over together, at a time, by a caller with or without patience."""

    at: float
    acts: list[Act]
    patience: float | None
    how: str


@frozen
class Outsider:
    """Somebody else who uses the same locks or limits."""

    at: float
    wants: dict[str, bool]
    limit: str | None
    seconds: float


ACTS = st.builds(
    Act,
    wants=WANTS,
    limits=st.frozensets(st.sampled_from(["llm", "gpu", "rate"]), max_size=2),
    seconds=SECONDS,
    how=st.sampled_from(["sleep", "sleep", "sleep", "at once", "crash", "hang"]),
    priority=st.sampled_from(Priority),
    timeout=st.sampled_from([None, None, 0.0, 0.75]),
    retry=st.booleans(),
    nested=st.one_of(st.just({}), st.just({}), WANTS),
)
BATCHES = st.builds(
    Batch,
    at=SECONDS,
    acts=st.lists(ACTS, min_size=1, max_size=6),
    patience=st.sampled_from([None, None, 0.0, 1.0, 2.5]),
    how=st.sampled_from(["run", "as_completed", "first"]),
)
OUTSIDERS = st.builds(
    Outsider,
    at=SECONDS,
    wants=WANTS,
    limit=st.sampled_from([None, "llm", "gpu"]),
    seconds=st.sampled_from([0.5, 1.5, 3]),
)
ENDS = st.tuples(st.sampled_from(["left", "broken", "cancelled", "drained"]), st.sampled_from([0.5, 1.5, 4.0]))


def split(wants):
    alone = [name for name, shared in wants.items() if not shared]
    return alone, [name for name, shared in wants.items() if shared]


def claims(wants):
    return claims_of(*split(wants)) if wants else ()


@define
class World:
    """Who is in a function of a task or in a block of an outsider, and what they may believe to hold."""

    slots: int
    locks: Locks = field(factory=Locks)
    limits: Limits = field(
        factory=lambda: Limits([*(Limit(n, t) for n, t in TOKENS.items()), RateLimit("rate", 2, per=1)])
    )
    inside: dict[object, tuple] = field(factory=dict)
    tasks: int = 0
    tokens: Counter = field(factory=Counter)
    results: list = field(factory=list)
    handed_over: int = 0
    manager: object = None

    def enter(self, wants, limits=()):
        mine = claims(wants)
        for others in self.inside.values():
            assert not any(conflicts(one, other) for one in mine for other in others), (mine, others)
        self.tokens.update(limits)
        assert all(self.tokens[name] <= most for name, most in TOKENS.items())
        key = object()
        self.inside[key] = mine
        return key

    def leave(self, key, limits=()):
        del self.inside[key]
        self.tokens.subtract(limits)


async def perform(world, act):
    world.tasks += 1
    assert world.tasks <= world.slots
    key = world.enter(act.wants, act.limits)
    try:
        if act.how == "at once":
            return act.seconds
        await trio.sleep(act.seconds / 2)
        progress(0.5)
        if act.nested:
            await nest(world, act)
        with trio.CancelScope(shield=act.how == "hang"):
            await trio.sleep(act.seconds / 2)
        if act.how == "crash":
            raise Crash
        return act.seconds
    finally:
        world.leave(key, act.limits)
        world.tasks -= 1


async def nest(world, act):
    alone, shared = split(act.nested)
    async with world.locks.hold(*alone, shared=shared, timeout=5.0):
        await trio.sleep(0.5)


async def outside(world, outsider):
    await trio.sleep(outsider.at)
    alone, shared = split(outsider.wants)
    if outsider.limit and outsider.wants:
        async with world.limits.hold(outsider.limit), world.locks.hold(*alone, shared=shared, timeout=30.0):
            await stay(world, outsider)
    elif outsider.limit:
        async with world.limits.hold(outsider.limit):
            await stay(world, outsider)
    elif outsider.wants:
        async with world.locks.hold(*alone, shared=shared):
            await stay(world, outsider)


async def stay(world, outsider):
    limits = [outsider.limit] if outsider.limit else []
    key = world.enter(outsider.wants, limits)
    try:
        await trio.sleep(outsider.seconds)
    finally:
        world.leave(key, limits)


def tasks_of(world, batch):
    for act in batch.acts:
        alone, shared = split(act.wants)
        yield Task(
            perform,
            world,
            act,
            agent=act.how,
            resources=alone,
            shared=shared,
            limits=act.limits,
            priority=act.priority,
            timeout=act.timeout,
            retry=Retry(2, wait=lambda _: 0.25, on=Crash) if act.retry else None,
        )


async def call(world, manager, batch):
    await trio.sleep(batch.at)
    tasks = list(tasks_of(world, batch))
    with trio.move_on_after(inf if batch.patience is None else batch.patience):
        try:
            if batch.how == "run":
                results = await manager.run(tasks)
                assert [result.agent for result in results] == [task.agent for task in tasks]
                world.results += results
                return
            async with manager.as_completed(tasks) as coming:
                async for result in coming:
                    world.results.append(result)
                    if batch.how == "first":
                        break
        except TasksClosed:
            pass


async def watch(world, manager):
    """At any moment between two steps: whoever has a slot runs, and nobody waits for what is free."""
    floor = manager._floor
    while True:
        await wait_all_tasks_blocked()
        # Between two tries one is in no function, and keeps its slot.
        assert world.tasks <= len(floor.running) == floor._taken <= world.slots
        stages = Counter(job.stage for job in floor.jobs.values())
        assert stages[Stage.RUNNING] == len(floor.running)
        assert stages[Stage.STARTING] == 0
        if floor._taken < world.slots and not floor.closed:
            for job in floor.jobs.values():
                if job.stage is Stage.WAITING and job.group not in floor.in_line:
                    assert not floor.board.is_free(job), job.id
            assert not any(map(floor.board.is_free, floor._complete))
        manager.status()
        now = manager.progress()
        assert 0 <= now.done <= 1
        await trio.sleep(0.125)


async def cancel(manager, when, agent):
    await trio.sleep(when)
    before = manager.metrics().overall.cancelled
    count = await manager.cancel(agent_ids=agent)
    assert manager.metrics().overall.cancelled >= before + count


async def body(world, program, end, cancels):
    how, when = end
    try:
        async with trio.open_nursery() as callers:
            with trio.CancelScope() as scope:
                async with open_task_manager(world.slots, locks=world.locks, limits=world.limits) as manager:
                    world.manager = manager
                    for batch in program:
                        callers.start_soon(call, world, manager, batch)
                    for at, agent in cancels:
                        callers.start_soon(cancel, manager, at, agent)
                    async with trio.open_nursery() as watching:
                        watching.start_soon(watch, world, manager)
                        await trio.sleep(when)
                        watching.cancel_scope.cancel()
                    if how == "broken":
                        raise Crash
                    if how == "cancelled":
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
    except* Crash:
        assert how == "broken"


async def run(program, outsiders, end, cancels, slots):
    world = World(slots)
    with trio.fail_after(200):
        async with trio.open_nursery() as others:
            for outsider in outsiders:
                others.start_soon(guarded, world, outsider)
            if end[0] == "drained":
                spec = ChildSpec("tasks", body, world, program, end, cancels, shutdown=2.0)
                async with open_supervisor([spec]) as service:
                    await trio.sleep(end[1] / 2)
                    await service.drain()
            else:
                await body(world, program, end, cancels)
    check_end(world)


async def guarded(world, outsider):
    with suppress(CapacityError):  # nobody is promised a lock in time, nor that it waits for nobody who waits for it
        await outside(world, outsider)


def check_end(world):
    floor = world.manager._floor
    assert (world.inside, world.tasks) == ({}, 0)
    assert floor.jobs == floor.running == floor._complete == floor.in_line == floor.board._places == {}
    assert floor._taken == 0
    assert world.locks.held() == world.locks.waiting() == ()
    assert all(line.held == line.waiting == 0 for line in world.limits.statistics().values())
    for result in world.results:
        assert (result.error is None) == result.success == (result.status is TaskStatus.SUCCEEDED)
        assert result.queued_at <= (result.started_at or result.queued_at) <= result.ended_at
    overall = world.manager.metrics().overall
    assert overall.total == overall.succeeded + overall.failed + overall.cancelled + overall.timed_out
    assert overall.total >= len(world.results)


@pytest.mark.timeout(600)
@settings(max_examples=200)
@given(
    st.lists(BATCHES, min_size=1, max_size=4),
    st.lists(OUTSIDERS, max_size=4),
    ENDS,
    st.lists(st.tuples(SECONDS, st.sampled_from(["sleep", "hang", "crash"])), max_size=2),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_E2_E3_conflicting_tasks_never_meet_no_slot_is_waited_in_and_everything_ends(
    program, outsiders, end, cancels, slots, seed
):
    with seed_schedule(seed):
        trio.run(partial(run, program, outsiders, end, cancels, slots), clock=MockClock(autojump_threshold=0))
