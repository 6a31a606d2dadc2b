"""Durable services for tests: a disk that takes its time or fails on command, and a life of a service on it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from math import inf

import trio

from spaceactors import RuntimeConfig
from spaceactors._runtime import NOTHING, kinds_of, open_hub
from spaceactors.stores._desk import Desk
from spaceactors.stores._durable import DurableStore
from spaceactors.testing import VirtualRuntime
from spaceactors.testing._faults import FaultyStore
from spaceactors.testing._limits import unbounded_limits
from tests.spaceactors.disks import Disk, Wall


class SlowDisk(Disk):
    """A disk that counts what it does, and for which a group takes so many (virtual) seconds."""

    def __init__(self, path):
        super().__init__(path)
        # Seconds that a group takes before it is written and read.
        self.seconds = 0.0
        # How many writes each group had that was kept, and how many groups were not.
        self.groups = []
        self.refused = 0
        # Whether a process that dies takes the group with it that is on its way.
        self.torn = False

    def write(self, writes):
        try:
            kept = super().write(writes)
        except Exception:
            self.refused += 1
            raise
        self.groups.append(len(writes))
        return kept


class SlowStore(DurableStore):
    """A durable store whose thread is played by virtual time."""

    inline = True

    async def open(self, hub, /):
        await super().open(hub)
        self.inline = True
        self._desk.inline = True
        self._desk.alone = partial(_alone, self._desk, self._engine)


async def _alone(desk, disk, call, *args):
    if call == desk._carry_out and disk.seconds:
        with trio.CancelScope(shield=True):
            await trio.sleep(disk.seconds)
    return await Desk.alone(desk, call, *args)


@asynccontextmanager
async def service(disk, *actors, deps=NOTHING, max_live=10_000, drain_timeout=30.0, one_lane=False):
    """Open a runtime on a disk. Its wall clock goes on from life to life, as Trio's does in one test."""
    store = SlowStore(disk)
    faulty = FaultyStore(store)
    async with open_hub(
        lambda hub, closing: VirtualRuntime(hub, closing, faulty),
        kinds_of(actors, deps_given=deps is not NOTHING),
        None if deps is NOTHING else deps,
        store=faulty,
        limits=unbounded_limits(),
        config=RuntimeConfig(max_live_spaces=max_live, drain_timeout=drain_timeout),
        one_lane=one_lane,
        clock=Wall,
    ) as runtime:
        runtime.store = store
        yield runtime


async def ledger_of(runtime):
    """The total ledger in words, of what is not zero; it must balance, as that of every live space."""
    shot = await runtime.snapshot()
    for one in (shot.ledger, *(space.ledger for space in shot.spaces)):
        assert one.accepted == sum(one.outcomes.values()) + one.pending
        assert one.pending >= 0
    words = {outcome.value: count for outcome, count in shot.ledger.outcomes.items() if count}
    if shot.ledger.pending:
        words["pending"] = shot.ledger.pending
    return words


def rows_of(runtime, space_id="a", kind="clerk"):
    """The messages that the disk has of a space, as it would find them after a kill."""
    return runtime.store._engine.messages((kind, space_id), 0, 10_000)


class Caller:
    """Calls in tasks of their own; what came of each is in `answers`."""

    def __init__(self, nursery):
        self._nursery = nursery
        self.answers = {}

    def __call__(self, key, call, *args, within=inf):
        scope = trio.CancelScope()

        async def run():
            with scope:
                scope.deadline = trio.current_time() + within
                try:
                    self.answers[key] = await call(*args)
                except Exception as error:
                    self.answers[key] = error

        self._nursery.start_soon(run)
        return scope


@asynccontextmanager
async def open_caller():
    """Have calls made beside the test; what still waits at the end is cancelled."""
    async with trio.open_nursery() as nursery:
        yield Caller(nursery)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def watching(runtime, *kinds):
    """Have events of these classes noted as they come, in the list that this yields."""
    noted = []

    async def read(events):
        async for event in events:
            if isinstance(event, kinds):
                noted.append(event)  # noqa: PERF401 (a test looks in between)

    async with runtime.events() as events, trio.open_nursery() as nursery:
        nursery.start_soon(read, events)
        yield noted
        nursery.cancel_scope.cancel()
