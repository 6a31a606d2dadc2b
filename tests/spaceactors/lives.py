"""What the tests of life and death share: an actor that does as it is told, and the events it makes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager

import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import Actor, Reject, SpaceOptions, handler


class Boom(Exception):
    """What an actor dies of. Two are never equal, so tests can ask for identity."""


class World:
    """What outlives the incarnations: a trace of what happened, and what hooks are to do."""

    def __init__(self):
        self.trace = []
        self.born = {}  # how often the actor of a space was made, by its id
        self.on_start: Callable | None = None
        self.on_restart: Callable | None = None
        self.on_idle: Callable | None = None
        self.on_stop: Callable | None = None

    def note(self, what):
        self.trace.append(what)

    def take(self):
        """What happened since the last look, as one line."""
        line = " ".join(map(str, self.trace))
        self.trace.clear()
        return line


class Doer(Actor[tuple]):
    """Does what a message says. Its state lists what was committed; the world's trace lists what was begun."""

    options = SpaceOptions(backoff=None)

    def __init__(self, world: World) -> None:
        self.world = world
        world.born[self.id] = world.born.get(self.id, 0) + 1
        self.scratch = None

    @handler
    async def note(self, what):
        """Write `what` down, at once."""
        self.world.note(what)
        self.state = (*self.state, what)

    @handler
    async def work(self, what, seconds):
        """Write `what` down after a while; +what begun, -what gone."""
        self.world.note(f"+{what}")
        try:
            await trio.sleep(seconds)
            self.state = (*self.state, what)
        finally:
            self.world.note(f"-{what}")
        return what

    @handler
    async def crash(self, error=None):
        """Assign, and crash."""
        self.state = (*self.state, "crashed")
        raise error or Boom

    @handler
    async def refuse(self, reason):
        raise Reject(reason)

    @handler
    async def do(self, fn, *args):
        """Run `fn(actor, *args)` as the turn."""
        return await fn(self, *args)

    async def hook(self, name, *args):
        hook = getattr(self.world, name)
        if hook is not None:
            await hook(self, *args)


class HookedDoer(Doer, kind="Doer"):
    """Notes its hooks in the trace, and does there what the world says."""

    async def on_start(self):
        self.world.note("start")
        await self.hook("on_start")

    async def on_restart(self, failure):
        self.world.note("restart")
        await self.hook("on_restart", failure)

    async def on_idle(self):
        self.world.note("idle")
        await self.hook("on_idle")

    async def on_stop(self):
        self.world.note("stop")
        await self.hook("on_stop")


def with_options(base=Doer, /, **options):
    """A Doer with other options; without `backoff=` it restarts at once."""
    chosen = SpaceOptions(**{"backoff": None, **options})
    return type(base.__name__, (base,), {"options": chosen, "__module__": base.__module__})


def sleeping(seconds):
    """A hook for a world: it takes a while."""

    async def sleep(actor):
        await trio.sleep(seconds)

    return sleep


@asynccontextmanager
async def gathering(runtime, *kinds):
    """Collect the runtime's events (of some classes) in a list while the block runs."""
    seen = []
    async with runtime.events() as events, trio.open_nursery() as nursery:

        async def read():
            async for event in events:
                if not kinds or isinstance(event, kinds):
                    seen.append(event)  # noqa: PERF401 (a test looks while it goes on)

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        yield seen
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def holds_law_2(runtime):
    """Whether accepted == outcomes + pending, in total and per live space."""
    snapshot = await runtime.snapshot()
    ledgers = [snapshot.ledger, *(space.ledger for space in snapshot.spaces)]
    return all(one.accepted == sum(one.outcomes.values()) + one.pending for one in ledgers)
