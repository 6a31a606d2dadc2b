"""C7 for locks: whatever tasks do, no two hold what excludes each other, and everything ends.

Random holders that wait, nest, crash, are cancelled, extend, overrun their leases and hang, on seeded schedules.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from math import inf

import pytest
import trio
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from supervisors import CapacityRefused, CapacityTimeout, LeaseExpired, LockCycle, Locks
from supervisors._lock_names import claims_of, conflicts
from supervisors.testing import seed_schedule

NAMES = ["dir:.", "dir:a", "dir:a/b", "file:a/b/c", "file:a/d", "file:e", "x", "y"]
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])


class Crash(Exception):
    pass


@frozen
class Act:
    """What one task does: holds, and then perhaps something inside."""

    at: float
    names: dict[str, bool]
    seconds: float
    ttl: float | None
    timeout: float | None
    # Seconds after which it is cancelled from outside, or None.
    patience: float | None
    how: str
    inside: Act | None = None


def acts(inside):
    return st.builds(
        Act,
        at=SECONDS,
        names=st.dictionaries(st.sampled_from(NAMES), st.booleans(), min_size=1, max_size=3),
        seconds=SECONDS,
        ttl=st.sampled_from([None, None, 0.5, 1.0, 2.5]),
        timeout=st.sampled_from([None, None, 0.0, 1.0, 2.0]),
        patience=st.sampled_from([None, None, 0.0, 0.5, 1.0, 2.0]),
        how=st.sampled_from(["sleep", "sleep", "crash", "hang", "extend", "nowait"]),
        inside=inside,
    )


ACTS = acts(st.one_of(st.none(), acts(st.none())))


@define
class World:
    """The locks, and who believes to hold what: each entered block, until it ends or its lease is over."""

    locks: Locks
    grace: float
    inside: dict[object, tuple[tuple, float, int, object]] = field(factory=dict)
    ends: Counter[str] = field(factory=Counter)
    # By name: the highest token of who held it alone, and of all.
    last: dict[str, tuple[int, int]] = field(factory=dict)

    def enter(self, key, claims, lease):
        now = trio.current_time()
        for others, until, token, task in self.inside.values():
            if any(conflicts(one, other) for one in claims for other in others):
                # Only a block that has overrun its lease by more than the grace may be there, with a lower token.
                assert until + self.grace <= now, (claims, others)
                assert token < lease.token
                assert task is not trio.lowlevel.current_task()
        for claim in claims:
            # Those who share are let in at once, and run in any order.
            alone, any_of_them = self.last.get(claim.name, (0, 0))
            assert lease.token > (alone if claim.shared else any_of_them)
            both = max(any_of_them, lease.token)
            self.last[claim.name] = (alone if claim.shared else lease.token, both)
        self.note(key, claims, lease)

    def note(self, key, claims, lease):
        until = trio.current_time() + lease.seconds_left
        self.inside[key] = (claims, until, lease.token, trio.lowlevel.current_task())


async def perform(world, act):
    claims = claims_of(
        [name for name, shared in act.names.items() if not shared],
        [name for name, shared in act.names.items() if shared],
    )
    alone = [claim.name for claim in claims if not claim.shared]
    shared = [claim.name for claim in claims if claim.shared]
    key = object()
    try:
        if act.how == "nowait":
            with world.locks.hold_nowait(*alone, shared=shared, ttl=act.ttl) as lease:
                await block(world, act, key, claims, lease)
        else:
            async with world.locks.hold(*alone, shared=shared, ttl=act.ttl, timeout=act.timeout) as lease:
                await block(world, act, key, claims, lease)
    except (CapacityRefused, CapacityTimeout, LeaseExpired, LockCycle, Crash) as error:
        world.ends[type(error).__name__] += 1
    else:
        world.ends["done"] += 1


async def block(world, act, key, claims, lease):
    world.enter(key, claims, lease)
    try:
        if act.inside:
            await trio.sleep(act.inside.at)
            await perform(world, act.inside)
        if act.how == "extend":
            await trio.sleep(act.seconds / 2)
            await lease.extend(act.seconds + 0.25)
            world.note(key, claims, lease)
        with trio.CancelScope(shield=act.how == "hang"):
            await trio.sleep(act.seconds)
        if act.how == "crash":
            raise Crash
    finally:
        del world.inside[key]


async def task(world, act):
    await trio.sleep(act.at)
    with trio.move_on_after(inf if act.patience is None else act.patience) as scope:
        await perform(world, act)
    world.ends["cancelled"] += scope.cancelled_caught


async def run(program, grace):
    world = World(Locks(grace=grace), grace)
    # Nobody waits for ever: each block ends by itself, and rings are told. 100 s are more than all take in a row.
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, world)
            async with trio.open_nursery() as tasks:
                for act in program:
                    tasks.start_soon(task, world, act)
            nursery.cancel_scope.cancel()
    assert world.locks.held() == world.locks.waiting() == ()
    table = world.locks._table
    assert [*table._places, *table._holding, *table._waits] == []
    return world.ends


async def watch(world):
    """Nobody waits for what is free, at any moment between two steps."""
    while True:
        await trio.testing.wait_all_tasks_blocked()
        now = trio.current_time()
        for waiter in world.locks.waiting():
            assert waiter.waits_for, waiter
        for holder in world.locks.held():
            if world.locks.waiting():
                assert holder.seconds_left > 0 or world.grace > 0, holder
        assert all(waiter.since <= now for waiter in world.locks.waiting())
        await trio.sleep(0.125)


@pytest.mark.timeout(600)
@settings(max_examples=250)
@given(st.lists(ACTS, min_size=1, max_size=12), st.sampled_from([0.0, 0.5, inf]), st.integers(0, 2**32))
def test_C7_no_two_hold_what_excludes_each_other_and_everything_ends(program, grace, seed):
    with seed_schedule(seed):
        trio.run(partial(run, program, grace), clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("seed", range(20))
def test_C7_tasks_that_take_the_same_several_in_any_order_all_get_them(seed):
    async def main():
        locks, got = Locks(), []

        async def take(number):
            names = NAMES[number % 5 :] + NAMES[: number % 5]
            async with locks.hold(*names[:4], shared=names[4:]):
                await trio.sleep(0.1)
                got.append(number)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(30):
                    nursery.start_soon(take, number)
        assert sorted(got) == list(range(30))

    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
