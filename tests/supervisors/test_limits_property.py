"""C1 and C7 under whatever happens: random programs of holders over seeded schedules, looked at after every step.

All times are few and round, so that much happens at the same moment and the schedule decides.
"""

from __future__ import annotations

from functools import partial

import pytest
import trio
from attrs import define, evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    Limit,
    Limits,
    Preempted,
    Priority,
    WhenFull,
)
from supervisors.testing import seed_schedule

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAMES = "abc"
TIMES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0])
LONG = 1e6  # virtual seconds: a program that takes as long hangs


class Crash(Exception):
    pass


@frozen
class Task:
    """Comes at a moment, holds some limits in some way for a while, ends in some way."""

    at: float
    how: str
    names: tuple[str, ...]
    priority: Priority
    key: str | None
    seconds: float
    crashes: bool
    # Seconds after it came when somebody cancels it, and seconds that it takes to clean up, come what may.
    patience: float
    dying: float


@frozen
class Resize:
    at: float
    name: str
    tokens: int


TASKS = st.builds(
    Task,
    at=TIMES,
    how=st.sampled_from(["hold", "hold", "hold", "hold", "nowait", "line", "goes on"]),
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple),
    priority=st.sampled_from(Priority),
    key=st.sampled_from([None, "x", "y"]),
    seconds=TIMES,
    crashes=st.booleans(),
    patience=st.sampled_from([0.0, 0.5, 1.0, 2.0, LONG, LONG, LONG]),
    dying=st.sampled_from([0.0, 0.0, 0.5, 2.0]),
)
RESIZES = st.builds(Resize, at=TIMES, name=st.sampled_from(NAMES), tokens=st.integers(0, 3))


@st.composite
def limits(draw):
    return tuple(
        Limit(
            name,
            draw(st.integers(0, 3)),
            max_waiting=draw(st.sampled_from([None, None, None, 0, 1, 2])),
            wait_timeout=draw(st.sampled_from([None, None, None, 0.0, 1.0, 2.0])),
            when_full=draw(st.sampled_from([WhenFull.WAIT, WhenFull.WAIT, WhenFull.WAIT, WhenFull.REFUSE])),
            preemptible=draw(st.booleans()),
        )
        for name in NAMES
    )


@define(eq=False)
class World(trio.abc.Instrument):
    """Watches the limits at every step of every task; `faults` says in words what must never be."""

    limits: Limits
    faults: list[str] = field(factory=list)
    # Tasks that got all that they want, and those on their way, with the lines that they go through in order.
    inside: dict[trio.lowlevel.Task, tuple[str, ...]] = field(factory=dict)
    coming: dict[trio.lowlevel.Task, tuple[str, ...]] = field(factory=dict)
    before: dict[str, int] = field(factory=dict)
    refused: int = 0
    preempted: int = 0

    def line(self, name):
        return self.limits.line(name)

    # ---- at every step

    def after_task_step(self, task):
        for name in NAMES:
            line = self.line(name)
            held, tokens, waiting = line.held, line.limit.tokens, len(line.waiting)
            if held > max(tokens, self.before.get(name, 0)):
                self.faults.append(f"{held} of {tokens} tokens of {name} are held")
            if waiting and held < tokens:
                self.faults.append(f"{waiting} wait for {name}, of which {tokens - held} are free")
            inside = sum(name in names for names in self.inside.values())
            if inside > held:
                self.faults.append(f"{inside} are inside with {name}, and {held} are counted")
            self.before[name] = held

    # ---- whenever nothing moves

    def count(self):
        """Every token is with somebody: with who is inside, or with who waits for a later one."""
        waits_for = {request.task: name for name in NAMES for request in self.line(name).waiting}
        for name in NAMES:
            inside = sum(name in names for names in self.inside.values())
            coming = sum(name in names and name < waits_for[task] for task, names in self.coming.items())
            if inside + coming != self.line(name).held:
                self.faults.append(f"{inside} + {coming} hold {name}, and {self.line(name).held} are counted")

    async def look(self):
        while True:
            await wait_all_tasks_blocked()
            self.count()
            await trio.sleep(0.25)

    # ---- what runs

    async def run(self, task):
        me = trio.lowlevel.current_task()
        try:
            with trio.move_on_after(task.patience):
                await self.hold(task, me)
        except Crash:
            if not task.crashes:
                self.faults.append("a crash came from nowhere")
        except (CapacityQueueFull, CapacityRefused, CapacityTimeout):
            self.refused += 1
        except Preempted:
            self.preempted += 1
            if task.how != "hold" or task.priority is Priority.URGENT:
                self.faults.append(f"{task} was preempted")
        self.coming.pop(me, None)
        if me in self.inside:
            self.faults.append(f"{task} is still inside")

    async def hold(self, task, me):
        names = tuple(sorted(set(task.names)))
        if task.how == "nowait":
            with self.limits.hold_nowait(*names):
                await self.body(task, me, names)
            return
        if task.how == "hold":
            self.coming[me] = names
            async with self.limits.hold(*task.names, priority=task.priority, fair_key=task.key):
                await self.body(task, me, names)
            return
        line = self.line(names[0])
        self.coming[me] = names[:1]
        await line.wait(task.priority, task.key, first=task.how == "goes on")
        try:
            await self.body(task, me, names[:1])
        finally:
            line.give_back()

    async def body(self, task, me, names):
        self.coming.pop(me, None)
        self.inside[me] = names
        try:
            await trio.sleep(task.seconds)
            if task.crashes:
                raise Crash
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(task.dying)
            del self.inside[me]

    async def act(self, act):
        await trio.sleep(act.at)
        if isinstance(act, Resize):
            self.limits.resize(act.name, act.tokens)
        else:
            await self.run(act)

    async def end(self):
        """After all that was drawn: whoever still waits gets its turn, if there is one for everybody."""
        await trio.sleep(20)
        for name in NAMES:
            self.limits.resize(name, 1)

    async def main(self, acts):
        with trio.fail_after(LONG / 2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.look)
                async with trio.open_nursery() as acting:
                    for act in acts:
                        acting.start_soon(self.act, act)
                    acting.start_soon(self.end)
                nursery.cancel_scope.cancel()
            self.check_nothing_is_left()

    def check_nothing_is_left(self):
        now = self.limits.statistics()
        for name in NAMES:
            line = self.line(name)
            assert (now[name].held, now[name].waiting) == (0, 0)
            assert not any(line._queue._rotations)
            assert not line._queue._first
            if line._holders is not None:
                assert not any(line._holders._by_priority)
                assert not line._holders._victims
        assert sum(one.refused for one in now.values()) == self.refused
        assert sum(one.preempted for one in now.values()) >= self.preempted


def run(made, acts, seed, ageing):
    world = World(Limits(made, ageing=ageing))
    with seed_schedule(seed):
        trio.run(partial(world.main, acts), clock=MockClock(autojump_threshold=0), instruments=[world])
    assert world.faults == []
    return world


SEEDS = st.integers(0, 2**32)
AGEINGS = st.sampled_from([0.0, 1.0, float("inf")])


@settings(max_examples=150)
@given(limits(), st.lists(st.one_of(TASKS, TASKS, TASKS, RESIZES), max_size=14), SEEDS, AGEINGS)
def test_C1_C7_whatever_happens_tokens_are_counted_right_and_nobody_waits_for_ever(made, acts, seed, ageing):
    run(made, acts, seed, ageing)


PATIENT = st.builds(
    evolve,
    TASKS,
    how=st.just("hold"),
    names=st.permutations(NAMES).flatmap(lambda names: st.integers(2, 3).map(lambda n: tuple(names[:n]))),
    patience=st.just(LONG),
)


@settings(max_examples=60)
@given(st.lists(PATIENT, min_size=2, max_size=10), st.lists(RESIZES, max_size=3), st.booleans(), SEEDS)
def test_C7_holders_of_several_limits_all_get_through_in_whatever_order_they_name_them(
    acts, resizes, preemptible, seed
):
    made = [Limit(name, 1, preemptible=preemptible) for name in NAMES]
    world = run(made, [*acts, *resizes], seed, 1.0)
    assert world.refused == 0


@settings(max_examples=40)
@given(st.lists(PATIENT, min_size=2, max_size=8), SEEDS)
def test_C7_no_longer_than_one_after_the_other(acts, seed):
    # Somebody always gets on: a limit is kept only by who is inside, or waits for a later one.
    ended = []

    class Timed(World):
        async def run(self, task):
            await super().run(task)
            ended.append(trio.current_time())

    world = Timed(Limits(Limit(name, 1) for name in NAMES))
    with seed_schedule(seed):
        trio.run(partial(world.main, acts), clock=MockClock(autojump_threshold=0), instruments=[world])
    assert world.faults == []
    assert max(ended) <= max(act.at for act in acts) + sum(act.seconds + act.dying for act in acts)
