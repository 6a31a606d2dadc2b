"""Hands calls to their spaces in the order of their lines, many spaces at once, and says what became of each.

Why a task per line keeps the order inside a space: `ask` takes the message's place, in the mailbox or in the line of
those who wait for one, in its first step, before anything else can run; and the mailbox gives places in that order. So
it is enough that the next task for a space begins after the one before has taken that first step (`entering`), although
Trio starts tasks in no particular order. One task per *space*, asking for one reply after the other, would keep the
order too, but would never have more than one message in a mailbox: nothing would be left to drain, and `WhenBusy` and
`Overflow` would never show.

Answers are written in the order of the lines of their space too: each waits until the one before is out.

A slow space fills its mailbox and then the places in flight; what is bounded has to stop somewhere, and lines are read
in order, so from then on the reader waits. Until then the others go on.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, evolve, field

from spaceactors import SpaceError
from spaceactors.cli._lines import Call, Invalid
from spaceactors.cli._results import HANDLED, INVALID, Result, outcome_of, reason_of
from spaceactors.cli._statistics import Overlap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from spaceactors import HandlerInfo, Runtime, SpaceHandle


OTHERS_EVERY = 64  # lines: so often at least the reader lets others run


@define
class Line:
    """What one space has had so far."""

    calls: int = 0
    entering: bool = False  # the newest call's task has not taken its first step yet
    written: trio.Event | None = None  # set when the newest call's result is out


@define
class Intake:
    """Calls go in, results come out; at most `in_flight` calls at a time have no result yet."""

    runtime: Runtime[Any]
    handlers: Mapping[str, HandlerInfo]
    askers: trio.Nursery  # outlives the runtime, so that everyone who asked hears the answer, also at a stop
    results: trio.MemorySendChannel[Result]
    in_flight: int
    places: trio.Semaphore = field(init=False)
    one_lane: bool = False  # all spaces together are one lane
    spaces: dict[str, Line] = field(factory=dict[str, Line])
    overlap: Overlap = field(factory=Overlap)

    def __attrs_post_init__(self) -> None:
        self.places = trio.Semaphore(self.in_flight, max_value=self.in_flight)

    async def take(self, line: Call | Invalid) -> None:
        """Hand one line over; waits while too many have no result yet."""
        if isinstance(line, Invalid):
            await self.results.send(Result(INVALID, line.space, error=line.reason, line=line.line))
            return
        if line.line % OTHERS_EVERY == 0 or self.places.value == 0:
            await self.places.acquire()
        else:
            self.places.acquire_nowait()
        space = self.spaces.setdefault(line.space, Line())
        while space.entering:  # two rounds at most: a task that was started runs in the next one
            await trio.lowlevel.checkpoint()
        space.entering = True
        before, space.written = space.written, trio.Event()
        self.askers.start_soon(self._ask, line, space.calls, space, before, space.written)
        space.calls += 1

    async def wait_answered(self) -> None:
        """Wait until every call has its result."""
        async with AsyncExitStack() as taken:
            for _ in range(self.in_flight):
                await taken.enter_async_context(self.places)

    async def _ask(
        self, call: Call, position: int, space: Line, before: trio.Event | None, written: trio.Event
    ) -> None:
        space.entering = False
        lane = None if self.one_lane else (call.group, call.space if call.group is None else None)
        began = trio.current_time()
        self.overlap.begin(lane, began)
        result = await self._outcome(call, position)
        ended = trio.current_time()
        self.overlap.end(lane, ended)
        result = evolve(result, seconds=ended - began)
        if before is not None:
            await before.wait()
        await self.results.send(result)
        written.set()
        self.places.release()

    async def _outcome(self, call: Call, position: int) -> Result:
        try:
            reply = await reply_to(self.runtime, self.handlers[call.name], call)
        except SpaceError as error:
            line = call.line if outcome_of(error) == INVALID else None
            return Result(outcome_of(error), call.space, position, error=reason_of(error), line=line)
        return Result(HANDLED, call.space, position, reply=reply)


async def reply_to(
    runtime: Runtime[Any], handler: HandlerInfo, call: Call, hear: Callable[[Any], Awaitable[object]] | None = None
) -> Any:
    """The reply to a call; of a streaming handler its items, or nothing where `hear` takes each as it comes."""
    handle: SpaceHandle[Any] = runtime.space(call.space, group=call.group)
    if call.message_id is not None or call.priority is not None:
        handle = handle.with_options(message_id=call.message_id, priority=call.priority)
    if not handler.streams:
        return await handle.ask(handler.function, *call.args, **call.kwargs)
    async with handle.stream(handler.function, *call.args, **call.kwargs) as items:
        if hear is None:
            return [item async for item in items]
        async for item in items:
            await hear(item)
    return None
