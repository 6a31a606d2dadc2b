"""The limit `turns`: how many turns run at once, and how a turn lends its token while it waits.

A turn takes a token before its handler is called, in the order of priorities and of its space's name, and gives it back
when the handler has returned. While it waits for an answer, for another limit, for an item of a stream, or for who
reads its own items, the token is somebody else's; then it goes on before any turn that has not begun. So turns that
need each other never wait for each other's tokens. Hooks run without one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, final

import trio

from supervisors import Priority

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._worker import Worker
    from supervisors._line import TokenLine

TURNS = "turns"

# A worker whose tokens are there at once lets others run after so many turns: law 8.
_AT_A_STRETCH = 64


@final
class Pace:
    """One worker's token of the limit `turns`."""

    __slots__ = ("_aim", "_beginning", "_begun", "_decide", "_held", "_line", "_resuming", "_waits", "_worker")

    def __init__(self, line: TokenLine, worker: Worker, decide: Callable[[Space], object]) -> None:
        self._line = line
        self._worker = worker
        # Tells what a space does next.
        self._decide = decide
        # Whether the token of the running turn is here, and not lent.
        self._held = False
        # How many tasks of the running turn wait.
        self._waits = 0
        # How many turns began without a wait.
        self._begun = 0
        # Ends the wait for the token of a turn that has not begun; and for what it waits.
        self._beginning: trio.CancelScope | None = None
        self._aim: object = None
        # End the waits of tasks of a running turn that go on; None: there is no running turn.
        self._resuming: list[trio.CancelScope] | None = None

    @property
    def in_line(self) -> bool:
        """Whether its next turn waits for a token."""
        return self._beginning is not None

    async def begin(self) -> bool:
        """Get a token for the next turn; tell whether it is there, or the worker must look around first."""
        space = self._worker.space
        if self._line.take_nowait():
            self._begun += 1
            if not self._begun % _AT_A_STRETCH:
                self._line.give_back()
                await trio.lowlevel.cancel_shielded_checkpoint()
                return False
        else:
            priority = space.mailbox[0].priority if space.mailbox else Priority.NORMAL
            self._aim = self._next()
            try:
                with trio.CancelScope() as self._beginning:
                    await self._line.wait(priority, space.name)
                cut = self._beginning.cancelled_caught
            finally:
                self._beginning = None
            if cut:
                return False
        self._held, self._resuming, self._waits = True, [], 0
        return True

    def look(self) -> None:
        """Have a worker that waits for the token of its next turn look around.

        One that would only come back for the same keeps its place in line, however often it is woken.
        """
        if self._beginning is not None and (self._aim is None or self._next() != self._aim):
            self._beginning.cancel()

    def _next(self) -> object:
        """Return what the worker would do next, and how urgent that is; None: nothing."""
        space = self._worker.space
        return (self._decide(space), space.mailbox[0].priority) if space.mailbox else None

    def end(self) -> None:
        """Give the token back: the turn is over, or its handler has returned."""
        self._resuming = None
        self._let_have()

    def pass_on(self, to: Pace) -> None:
        """Give the token to a turn that has its answer now, and would stand in line a moment too late."""
        limit = self._line.limit
        ready = to._resuming is not None and to._waits == 1 and not to._held
        # After a shrink what comes free is nobody's; and who has a lane to wait for waits without a token.
        if self._held and ready and self._line.held <= limit.tokens and to._worker.space.lane is None:
            self._held = False
            to._has_token()

    def lend(self) -> None:
        """Let others have the token as long as a task of the turn waits.

        Others of its tasks may run meanwhile. Kept for them, the token would be kept when they are done too, and what
        the turn waits for might need it.
        """
        self._waits += 1
        self._let_have()

    def _let_have(self) -> None:
        if self._held:
            self._held = False
            self._line.give_back()

    async def resume(self) -> None:
        """Go on after a wait: the last task of the turn that does gets the token, before any turn that has not begun.

        A cancellation that concerns only a part of the turn, such as a timeout around an ask, comes after that: what
        follows in the handler runs with a token.
        """
        scopes = self._resuming
        self._waits -= 1
        if scopes is None or not self._wanted_by(scopes):
            return
        if not self._line.take_nowait() and not await self._wait_to_go_on(scopes):
            return
        if self._wanted_by(scopes):
            self._has_token()
        else:
            self._line.give_back()  # another task of the turn waits again, or was here first, or the turn is over

    def _has_token(self) -> None:
        """Take note that the token is here: it is for all tasks of the turn, and no other one waits for a second."""
        self._held = True
        self.let_go()

    async def _wait_to_go_on(self, scopes: list[trio.CancelScope]) -> bool:
        """Wait for a token; tell whether it is there, and for this task.

        If not, another task of the turn has one, or the turn was cancelled or its time is over: then its handler hears
        of that at its own next checkpoint.
        """
        worker = self._worker
        if worker.cut is not None:
            return False
        deadline = inf if worker.scope is None else worker.scope.deadline
        with (
            worker.space.runtime.stalls.waiting(worker.space, worker, (TURNS,)),
            trio.CancelScope(shield=True, deadline=deadline) as scope,
        ):
            scopes.append(scope)
            try:
                await self._line.wait(Priority.NORMAL, worker.space.name, first=True)
            finally:
                scopes.remove(scope)
        return not scope.cancelled_caught

    def _wanted_by(self, scopes: list[trio.CancelScope]) -> bool:
        """Tell whether the turn still runs that these scopes belong to, and none of its tasks waits any more."""
        return not self._held and not self._waits and self._resuming is scopes

    def let_go(self) -> None:
        """Have no task of the turn wait for a token any longer: it has one, or was cancelled and only ends."""
        for scope in self._resuming or ():
            scope.cancel()


def answered(space: Space, message: Message) -> None:
    """Have the turn that asked go on with the token of the one that answers: before any that has not begun."""
    sender = None if message.extra is None or message.waiter is None else message.extra.sender
    asker = None if sender is None else space.runtime.live.get(sender.key)
    if asker is None:
        return
    answering = (worker.pace for worker in space.workers if worker.message is message)
    asking = (one.pace for one in asker.workers if any(wait.message is message for wait in one.waits))
    has, wants = next(answering, None), next(asking, None)
    if has is not None and wants is not None:
        has.pass_on(wants)


@asynccontextmanager
async def lent(worker: Worker | None) -> AsyncGenerator[None]:
    """Lend the token of a turn while it waits for something."""
    pace = None if worker is None else worker.pace
    if pace is None:
        yield
        return
    pace.lend()
    try:
        yield
    finally:
        await pace.resume()
