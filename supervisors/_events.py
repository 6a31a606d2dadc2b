"""What happens in a tree, as frozen values, and their way to whoever listens."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar, final

import trio
from attrs import define, field

from supervisors._record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from supervisors._report import DrainReport

E = TypeVar("E")

# A reader lets others run at least once in so many events.
READS_AT_A_STRETCH = 64


class SupervisorEvent(Record):
    """Base class of the events: which supervisor or pool, and when (seconds of Trio's clock)."""

    supervisor: str
    at: float


class ChildEvent(SupervisorEvent):
    """Base class of the events of one child; incarnations are counted from 1."""

    child: str
    incarnation: int


@final
class ChildStarted(ChildEvent):
    """A child is ready."""


@final
class ChildFinished(ChildEvent):
    """A child returned by itself."""


@final
class ChildCrashed(ChildEvent):
    """A child raised, or failed to start (`starting`)."""

    error: BaseException
    starting: bool


@final
class ChildRestarting(ChildEvent):
    """A child will be restarted after `delay` seconds.

    It is the `attempt`-th in a row and the `restarts`-th inside the limit's window (both from 1); `group` names the
    siblings that restart with it.
    """

    delay: float
    attempt: int
    restarts: int
    group: tuple[str, ...] = ()


@final
class ChildStopped(ChildEvent):
    """A child ended because it was stopped; `error` is what it raised meanwhile."""

    error: BaseException | None = None


@final
class ChildUnstoppable(ChildEvent):
    """A child was cancelled `seconds` ago and has not ended; told again each second."""

    seconds: float


@final
class ChildQuarantined(ChildEvent):
    """A pool child is over its restart limit and waits to be revived; `error` is None if it just returned."""

    error: BaseException | None
    history: tuple[float, ...]


@final
class ChildRevived(ChildEvent):
    """A quarantined child starts again with a fresh budget."""


@final
class LimitExceeded(ChildEvent):
    """The supervisor gives up: this child's end was one too many; `error` is None if it just returned."""

    error: BaseException | None
    history: tuple[float, ...]


@final
class AutoShutdownBegan(ChildEvent):
    """A significant child ended, and the supervisor shuts itself down."""


@final
class DrainBegan(SupervisorEvent):
    """The supervisor starts nothing any more and asks its children to finish."""


@final
class DrainEnded(SupervisorEvent):
    """All children have ended, or the deadline is over."""

    report: DrainReport


@final
class EventsMissed(Record):
    """The reader was too slow: `missed` of the events before the next one are gone."""

    missed: int


@define(eq=False)
class _Subscription(Generic[E]):
    """One reader's buffer."""

    capacity: int
    waiting: deque[E] = field(factory=deque[E])
    # Dropped since the reader last took something.
    missed: int = 0
    # Where the reader parks; it is made when a reader has nothing to read.
    arrival: trio.Event | None = None
    closed: bool = False
    # How often it was read, to let others run now and then.
    reads: int = 0

    def put(self, event: E) -> None:
        if len(self.waiting) >= self.capacity:
            self.waiting.popleft()
            self.missed += 1
        self.waiting.append(event)
        self.wake()

    def wake(self) -> None:
        if self.arrival is not None:
            self.arrival.set()
            self.arrival = None

    def close(self) -> None:
        self.closed = True
        self.wake()

    def __aiter__(self) -> _Subscription[E]:
        return self

    async def __anext__(self) -> E | EventsMissed:
        # No async generator: a reader that was cancelled while it waited must be able to go on.
        await trio.lowlevel.checkpoint_if_cancelled()
        self.reads += 1
        await self._wait_arrival()
        if self.missed:
            missed, self.missed = self.missed, 0
            return EventsMissed(missed)
        if self.waiting:
            return self.waiting.popleft()
        raise StopAsyncIteration

    async def _wait_arrival(self) -> None:
        if self.waiting or self.missed or self.closed:
            # A reader that yields at every event falls behind a burst; it lets others run now and then.
            if self.reads % READS_AT_A_STRETCH == 0:
                await trio.lowlevel.checkpoint()
            return
        self.arrival = trio.Event()
        await self.arrival.wait()


@final
@define(eq=False)
class Broadcast(Generic[E]):
    """Passes events to any number of readers and waits for none of them.

    Each reader has room for `capacity` events; one that is slower loses the oldest and is told how many. Test
    `listened` before making an event: while nobody reads, nothing is made.
    """

    capacity: int = 1024
    _readers: list[_Subscription[E]] = field(factory=list["_Subscription[E]"], init=False)
    _closed: bool = field(default=False, init=False)

    @property
    def listened(self) -> bool:
        """Whether anybody reads."""
        return bool(self._readers)

    def publish(self, event: E) -> None:
        """Give an event to all present readers."""
        for reader in self._readers:
            reader.put(event)

    def close(self) -> None:
        """End all readers after what they have in their buffers."""
        self._closed = True
        for reader in self._readers:
            reader.close()

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[AsyncIterator[E | EventsMissed]]:
        """Read the events from now on: `async with ... as events: async for event in events`."""
        reader: _Subscription[E] = _Subscription(self.capacity, closed=self._closed)
        self._readers.append(reader)
        try:
            yield reader
        finally:
            self._readers.remove(reader)
