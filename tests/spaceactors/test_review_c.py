"""The door, questions and streams where calls meet a closing gate, one another, or a reader that is no longer there."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    Actor,
    AskCycle,
    BadCall,
    NotAccepted,
    RestartLimit,
    RuntimeClosed,
    RuntimeConfig,
    SpaceBusy,
    SpaceOptions,
    SpaceQuarantined,
    WhenAbandoned,
    WhenBusy,
    handler,
    open_runtime,
)


class Narrow(Actor):
    """Has one place, and takes its time."""

    options = SpaceOptions(mailbox_capacity=1)

    @handler
    async def slow(self):
        await trio.sleep(1)
        return "done"


class Caller(Actor):
    """Calls the narrow one, from a turn and from background work."""

    def __init__(self, seen):
        self.seen = seen

    @handler
    async def ask(self):
        return await self.space("narrow", Narrow).ask(Narrow.slow)

    @handler
    async def begin(self):
        self.start_soon(self.work)

    async def work(self):
        self.seen.append(await self.space("narrow", Narrow).ask(Narrow.slow))


async def fill(runtime):
    """Have the narrow space work, and its only place be taken."""
    narrow = runtime.space("narrow", Narrow)
    narrow.send_nowait(Narrow.slow)
    await wait_all_tasks_blocked()
    narrow.send_nowait(Narrow.slow)


async def test_an_ask_of_a_turn_in_line_for_a_place_survives_the_drain():
    """What an accepted turn has asked is part of what the drain finishes."""
    seen = []
    async with open_runtime(Narrow, Caller, deps=seen) as runtime:
        await fill(runtime)

        async def ask():
            seen.append(await runtime.space("caller", Caller).ask(Caller.ask))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            report = await runtime.drain()
    assert (seen, report.clean) == (["done"], True)


async def test_a_call_of_background_work_in_line_for_a_place_survives_the_drain():
    """Background work is accepted work too."""
    seen = []
    async with open_runtime(Narrow, Caller, deps=seen) as runtime:
        await fill(runtime)
        await runtime.space("caller", Caller).ask(Caller.begin)
        await wait_all_tasks_blocked()
        report = await runtime.drain()
    assert (seen, report.clean) == (["done"], True)


async def test_a_sender_from_outside_in_line_for_a_place_is_refused_by_the_drain():
    """A drain takes nothing new."""
    async with open_runtime(Narrow) as runtime:
        await fill(runtime)
        refused = []

        async def send():
            with pytest.raises(RuntimeClosed):
                await runtime.space("narrow", Narrow).send(Narrow.slow)
            refused.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            now = trio.current_time()
            await runtime.drain()
    assert refused == [now]
