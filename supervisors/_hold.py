"""The blocks that hold tokens of limits: `async with limits.hold(...)`, `with limits.hold_nowait(...)`.

Classes instead of generators: a hold is on the way of every call to a service, and a generator would double its cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

import trio
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, enable_ki_protection, in_trio_run

from supervisors._async_only import AsyncOnly, SyncOnly
from supervisors._capacity import Preempted, Priority
from supervisors._line import TokenLine

if TYPE_CHECKING:
    from types import TracebackType

    from supervisors._line import Line


class Rate(Protocol):
    """What `Limits` needs of a `RateLimit`."""

    @property
    def name(self) -> str:
        """What `hold` calls it."""
        ...

    async def take(self, n: int = 1) -> None:
        """Spend permits, by the rate's rules."""

    def take_nowait(self, n: int = 1) -> None:
        """Spend permits, or raise `CapacityRefused`."""

    def resize(self, permits: int) -> None:
        """Change how many permits there are in a period."""


# Of a hold: how many lines it holds a token of. They are the first so many, for tokens are taken in order.
NOT_ENTERED = -1


@final
class Hold(AsyncOnly):
    """A block that keeps its tokens until it ends."""

    __slots__ = ("_fair_key", "_lines", "_priority", "_rates", "_taken")

    def __init__(
        self, lines: tuple[Line, ...], rates: tuple[Rate, ...], priority: Priority, fair_key: str | None
    ) -> None:
        self._lines = lines
        self._rates = rates
        self._priority = priority
        self._fair_key = fair_key
        self._taken = NOT_ENTERED

    @enable_ki_protection
    async def __aenter__(self) -> None:
        """Take the tokens in order, then the permits; if one is not to be had, nothing is held."""
        if self._taken != NOT_ENTERED:
            raise reused("hold")
        self._taken = 0
        await checkpoint_if_cancelled()
        waited = False
        try:
            for line in self._lines:
                if not line.take_nowait():
                    await line.wait(self._priority, self._fair_key)
                    waited = True
                self._taken += 1
            for rate in self._rates:
                await rate.take()
                waited = True
            if not waited:
                await cancel_shielded_checkpoint()
        except BaseException:
            self._give_back()
            raise

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was taken."""
        self._give_back()

    def _give_back(self) -> None:
        for line in reversed(self._lines[: self._taken]):
            line.give_back()


@final
class YieldingHold(AsyncOnly):
    """A block that holds a token of at least one limit from which urgent requests may take it."""

    __slots__ = ("_fair_key", "_lines", "_rates", "_scope", "_taken", "_why", "priority")

    def __init__(
        self, lines: tuple[Line, ...], rates: tuple[Rate, ...], priority: Priority, fair_key: str | None
    ) -> None:
        self.priority = priority
        self._lines = lines
        self._rates = rates
        self._fair_key = fair_key
        self._taken = NOT_ENTERED
        # One for all tokens, and around the waiting as well: who waits for one has to end when another is taken away.
        self._scope = trio.CancelScope()
        # Whose request ended it; the first, if there are several.
        self._why: str | None = None

    def take_away(self, limit: str, by: Priority) -> None:
        """End the block soon, because somebody more urgent wants its token of a limit."""
        if self._why is None:
            self._why = f"limit {limit!r}: {by.name} work took the token of this {self.priority.name} work"
            self._scope.cancel(self._why)

    @enable_ki_protection
    async def __aenter__(self) -> None:
        """Take the tokens in order, then the permits; if one is not to be had, nothing is held."""
        if self._taken != NOT_ENTERED:
            raise reused("hold")
        self._taken = 0
        await checkpoint_if_cancelled()
        self._scope.__enter__()
        try:
            await self._take()
        except BaseException as error:
            self._end(error)
            raise

    async def _take(self) -> None:
        for line in self._lines:
            if isinstance(line, TokenLine):
                if not line.take_nowait(self):
                    await line.wait(self.priority, self._fair_key, holder=self)
            elif not line.take_nowait():
                await line.wait(self.priority, self._fair_key)
            self._taken += 1
        for rate in self._rates:
            await rate.take()
        await cancel_shielded_checkpoint()

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was taken; raises `Preempted` if the block ended because of that."""
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        try:
            # A cancellation from further out is not this scope's to catch, and a value or an error of the block stands.
            self._scope.__exit__(None if error is None else type(error), error, None)
        finally:
            for line in reversed(self._lines[: self._taken]):
                if isinstance(line, TokenLine):
                    line.give_back(self)
                else:
                    line.give_back()
        if self._scope.cancelled_caught:
            raise Preempted(self._why) from None


@final
class HoldNow(SyncOnly):
    """A block that holds tokens and never waits. Nobody takes them away: there is no await where it could end."""

    __slots__ = ("_lines", "_rates", "_taken")

    def __init__(self, lines: tuple[Line, ...], rates: tuple[Rate, ...]) -> None:
        self._lines = lines
        self._rates = rates
        self._taken = NOT_ENTERED

    @enable_ki_protection
    def __enter__(self) -> None:
        """Take the tokens, then the permits; if one is not to be had, nothing is held."""
        if self._taken != NOT_ENTERED:
            raise reused("hold_nowait")
        if not in_trio_run():
            msg = "tokens belong to the thread of the Trio run: hold the limit there, around the call of the thread"
            raise RuntimeError(msg)
        self._taken = 0
        try:
            for line in self._lines:
                if not line.take_nowait():
                    raise line.refuse("no token is free")
                self._taken += 1
            for rate in self._rates:
                rate.take_nowait()
        except BaseException:
            self._give_back()
            raise

    @enable_ki_protection
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was taken."""
        self._give_back()

    def _give_back(self) -> None:
        for line in reversed(self._lines[: self._taken]):
            line.give_back()


def reused(name: str) -> RuntimeError:
    """Return the error of who enters one hold twice."""
    return RuntimeError(f"this {name}() was entered before: call {name}() again for each block")
