"""Synchronous code that blocks the loop is told as the turn that runs it: at once by the log, then by an event."""

from __future__ import annotations

import logging
import math
import threading

import pytest
import trio

from spaceactors import Actor, LoopWasBlocked, RuntimeConfig, handler, open_runtime

# Real seconds. Nobody waits for as long when all is well.
PATIENCE = 60
# A slow machine may make a block of what comes before in the same tick: then that is told, and what follows is not.
# Real seconds until the next try.
TRY = 2
WATCHED = RuntimeConfig(blocked_after=0.01)

# Real time: what is waited for comes from a thread.
real_time = pytest.mark.trio(run=trio.run)


async def show_life():
    for _ in range(3):
        await trio.lowlevel.checkpoint()


class Stubborn(Actor[int], kind="stubborn"):
    """Stands in its tracks until somebody has told of it."""

    def __init__(self, told: threading.Event) -> None:
        self.told = told

    @handler
    async def stand(self):
        while not self.told.wait(TRY):  # where it stands
            await show_life()

    @handler
    async def stand_beside(self):
        self.start_soon(self.work)

    async def work(self):
        await self.stand()

    @handler
    async def nothing(self):
        pass


class Teller(logging.Handler):
    """Lets those go on of whom a log line tells; what a slow machine makes of other code is not looked at."""

    def __init__(self):
        super().__init__()
        self.told = threading.Event()
        self.lines = []

    def emit(self, record):
        line = record.getMessage()
        if "where it stands" in line or "(stand) has blocked" in line:
            self.lines.append((line, threading.current_thread().name))
        if "where it stands" in line:
            self.told.set()


@pytest.fixture
def teller(monkeypatch):
    # Blocks that a slow machine brings about must not use up what may be told.
    monkeypatch.setattr("supervisors._watch.QUIET", 0.0)
    handler = Teller()
    logger = logging.getLogger("spaceactors")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def told_of(runtime, call):
    """Return the event about the block that a call brings about."""
    with trio.fail_after(PATIENCE):
        async with runtime.events() as events:
            await call()
            async for event in events:
                if isinstance(event, LoopWasBlocked) and event.function == "stand":
                    return event
    raise AssertionError


@real_time
async def test_O4_a_turn_that_blocks_the_loop_is_told_by_name_and_line(teller):
    async with open_runtime(Stubborn, deps=teller.told, config=WATCHED) as runtime:
        event = await told_of(runtime, lambda: runtime.space("a").ask(Stubborn.stand))
    assert (event.kind, event.space, event.call) == ("stubborn", "a", "stand")
    assert event.file == __file__
    assert event.seconds >= WATCHED.blocked_after
    assert "where it stands" in "\n".join(event.stack)
    line, thread = teller.lines[0]
    assert line.startswith("a (stand) blocks the event loop since ")
    assert f"{__file__}:{event.line} in stand" in line
    assert thread == "watch_loop"  # while the loop stands, nobody else can tell
    assert any("a (stand) has blocked the event loop for" in line for line, _ in teller.lines)


@real_time
async def test_O4_background_work_that_blocks_the_loop_is_told_by_its_space(teller):
    async with open_runtime(Stubborn, deps=teller.told, config=WATCHED) as runtime:
        event = await told_of(runtime, lambda: runtime.space("a").ask(Stubborn.stand_beside))
    assert (event.space, event.call) == ("a", None)


@real_time
async def test_O4_what_is_no_actor_is_told_by_its_task(teller):
    async def stand():
        while not teller.told.wait(TRY):  # where it stands
            await show_life()

    async with open_runtime(Stubborn, deps=teller.told, config=WATCHED) as runtime, trio.open_nursery() as nursery:

        async def begin():
            nursery.start_soon(stand, name="somebody else")

        event = await told_of(runtime, begin)
    assert (event.kind, event.space, event.call, event.task) == (None, None, None, "somebody else")


@real_time
async def test_O4_nobody_watches_unless_asked_to():
    def watchers():
        return [thread for thread in threading.enumerate() if thread.name == "watch_loop"]

    async with open_runtime(Stubborn, deps=threading.Event()) as runtime:
        await runtime.space("a").ask(Stubborn.nothing)
        assert watchers() == []
    async with open_runtime(Stubborn, deps=threading.Event(), config=WATCHED) as runtime:
        await runtime.space("a").ask(Stubborn.nothing)
        assert len(watchers()) == 1
    assert watchers() == []


@pytest.mark.parametrize("wrong", [0, -1, 1e-6, math.inf, math.nan, "1", True])
def test_O4_a_threshold_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="blocked_after"):
        RuntimeConfig(blocked_after=wrong)
