"""Feeds: what an actor emits, with positions, replayable from a bounded memory, for any number of readers.

The decisions are sync; only the reader's wait is async.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import trio
from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spaceactors._pace import Pace

E = TypeVar("E")


@final
@frozen
class Emitted(Generic[E]):
    """One emitted value; `position` counts from 1, and is None for `emit(now=True)`, which is never replayed."""

    value: E
    position: int | None


@final
@frozen
class Gap:
    """Some events are gone: the reader was too slow, or asked for older ones than the space keeps."""

    missed: int


@final
@define(eq=False)
class Feed:
    """The replayable events of one space: the last few, oldest first."""

    size: int
    kept: deque[Emitted[Any]] = field(factory=deque[Emitted[Any]])
    # Position of the newest event.
    last: int = 0

    def add(self, value: object) -> Emitted[Any]:
        """Give an event its position and keep it."""
        self.last += 1
        event = Emitted(value, self.last)
        self.kept.append(event)
        if len(self.kept) > self.size:
            self.kept.popleft()
        return event

    def after(self, position: int) -> list[Emitted[Any] | Gap]:
        """Return what a reader that has seen `position` has missed."""
        oldest = self.last - len(self.kept) + 1
        missed = oldest - 1 - position
        seen = [one for one in self.kept if one.position is not None and one.position > position]
        return [Gap(missed), *seen] if missed > 0 else list[Emitted[Any] | Gap](seen)


@final
class FeedReader:
    """One subscriber: a bounded buffer; when it is full the oldest event makes room and is counted as missed."""

    __slots__ = ("_buffer", "_closed", "_missed", "_size", "_taken", "_type", "_waiting", "pace", "seen")

    def __init__(self, event: type[Any] | None, size: int) -> None:
        self._type = event
        self._size = size
        self._buffer: deque[Emitted[Any] | Gap] = deque()
        self._missed = 0
        self._waiting: trio.Event | None = None
        self._closed = False
        # Whether a task asks for the next event.
        self._taken = False
        # The token of the turn that reads, lent while it waits for an event; None: none is needed.
        self.pace: Pace | None = None
        # Position of the newest event that was read from the store; it may be there before it is passed on.
        self.seen = 0

    def begin_with(self, backlog: Iterable[Emitted[Any] | Gap]) -> None:
        """Put what was missed before what came in the meantime; what is in both comes once."""
        came, self._buffer = self._buffer, deque()
        for one in backlog:
            self._keep(one)
            if isinstance(one, Emitted) and one.position is not None:
                self.seen = one.position
        new = (one for one in came if isinstance(one, Gap) or one.position is None or one.position > self.seen)
        self._buffer.extend(new)

    def put(self, event: Emitted[Any]) -> None:
        """Take an event; never waits."""
        self._keep(event)
        while len(self._buffer) > self._size:
            gone = self._buffer.popleft()
            self._missed += gone.missed if isinstance(gone, Gap) else 1
        self._wake()

    def close(self) -> None:
        """End the feed after what is in the buffer."""
        self._closed = True
        self._wake()

    def __aiter__(self) -> FeedReader:
        return self

    async def __anext__(self) -> Emitted[Any] | Gap:
        if self._taken:
            msg = "another task reads this feed already: subscribe once for each task"
            raise trio.BusyResourceError(msg)
        self._taken = True
        try:
            return await self._next()
        finally:
            self._taken = False

    async def _next(self) -> Emitted[Any] | Gap:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._there:
            if self.pace is not None:
                self.pace.lend()
            try:
                while not self._there:
                    self._waiting = trio.Event()
                    await self._waiting.wait()
            finally:
                if self.pace is not None:
                    await self.pace.resume()
        if self._missed:
            missed, self._missed = self._missed, 0
            return Gap(missed)
        if not self._buffer:
            raise StopAsyncIteration
        await trio.lowlevel.cancel_shielded_checkpoint()
        return self._buffer.popleft()

    @property
    def _there(self) -> bool:
        return bool(self._buffer or self._missed or self._closed)

    def _keep(self, one: Emitted[Any] | Gap) -> None:
        if isinstance(one, Gap) or self._type is None or isinstance(one.value, self._type):
            self._buffer.append(one)

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.set()
            self._waiting = None
