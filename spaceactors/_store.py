"""The store port: what the runtime keeps of its spaces, and through which calls.

A turn ends in one `Commit`. A store takes it whole or not at all; the worker awaits `commit` and publishes afterwards.
The memory store's methods never really wait. A durable store implements the same port, and the worker stays as it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence  # noqa: TC003 (attrs resolves them)
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final

from attrs import define, frozen

from spaceactors._options import Outcome  # noqa: TC001 (attrs resolves it)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from spaceactors._actor import Actor
    from spaceactors._dead_letters import DeadLetter
    from spaceactors._feed import Feed
    from spaceactors._handle import SpaceHandle
    from spaceactors._message import Message
    from spaceactors._timers import Timer

S = TypeVar("S")

_NONE: Mapping[str, Any] = MappingProxyType({})


@final
@frozen
class Entry:
    """One entry of a space's history; positions are counted from 1 and never used again."""

    position: int
    at: datetime
    value: Any


@final
@define(eq=False)
class Known:
    """A settled message whose id is remembered, with what its asker got."""

    message: Message
    outcome: Outcome
    # The reply if handled, the `Rejected` if rejected.
    result: Any
    # When it was settled, in seconds of Trio's clock.
    at: float


@final
@define(eq=False)
class Row:
    """What a store keeps of one space."""

    kind: str
    id: str
    # The committed state and how often it was committed; version 0 is the actor's first state.
    state: Any
    version: int = 0
    # The lane, fixed by the first message.
    group: str | None = None
    # The kept entries, oldest first, and the position of the next.
    entries: Sequence[Entry] = ()
    next_position: int = 1
    # What only some spaces have is made with the first of it (`own_…`): settled ids that are remembered, the longest
    # known first; timers by key; the user's counters by name.
    known: Mapping[str, Known] = _NONE
    timers: Mapping[str, Timer] = _NONE
    counters: Mapping[str, float] = _NONE
    # Replayable events; made with the first of them.
    feed: Feed | None = None
    # Whether the last activation was stopped or killed, for listings.
    stopped: bool = False

    def own_known(self) -> OrderedDict[str, Known]:
        """Return the remembered ids, to change them."""
        if not isinstance(self.known, OrderedDict):
            self.known = OrderedDict()
        return self.known

    def own_timers(self) -> dict[str, Timer]:
        """Return the timers, to change them."""
        if not isinstance(self.timers, dict):
            self.timers = {}
        return self.timers

    def own_counters(self) -> dict[str, float]:
        """Return the counters, to change them."""
        if not isinstance(self.counters, dict):
            self.counters = {}
        return self.counters

    def own_entries(self) -> list[Entry]:
        """Return the entries, to change them."""
        if not isinstance(self.entries, list):
            self.entries = list(self.entries)
        return self.entries


@final
@define(eq=False)
class Commit:
    """What one turn did, to be kept whole or not at all."""

    # The version that the turn read: the commit is refused if it is no longer the row's.
    version: int
    state: Any
    # Whether the turn assigned a state.
    changed: bool
    message: Message | None
    entries: list[Entry]
    timers: dict[str, Timer | None]
    counts: dict[str, float]
    # At most so many entries are kept.
    max_entries: int | None = None


class VersionLost(Exception):
    """Somebody else updated the row: the turn must run again on what is there now."""


class Store(Protocol):
    """What a store must do; `spaceactors.MemoryStore` is the plainest one.

    You pass a store to `open_runtime(store=...)` and use `update` to change a state from outside an actor.
    """

    # Whether a message counts as accepted, and a turn as settled, only when the store has written it.
    durable: bool

    @property
    def check(self) -> Callable[[object], None] | None:
        """What raises `BadCall` for arguments that the store could not write; None: it can keep any value."""
        ...

    async def update(self, space: SpaceHandle[Actor[S]], change: Callable[[S], S], /) -> int:
        """Change a space's committed state from outside; return the new version.

        A turn that is running meanwhile runs again on the new state, and no attempt is counted.
        """
        ...

    def find(self, kind: str, space_id: str, /) -> Row | None:
        """Return a space's row if the store knows the space."""
        ...

    def create(self, kind: str, space_id: str, state: object, group: str | None, /) -> Row:
        """Begin a space's row."""
        ...

    async def commit(self, row: Row, commit: Commit, /) -> None:
        """Keep what a turn did, whole or not at all.

        Raises:
            VersionLost: the row has another version than the turn read.
            StoreError: it cannot be kept now; nothing was.

        """
        ...

    async def delete(self, kind: str, space_id: str, /) -> None:
        """Remove all that is kept of a space."""
        ...

    def rows(self, kind: str, *, after: str = "", limit: int = 100) -> list[Row]:
        """Return rows of a kind in the order of their ids."""
        ...

    def bury(self, letter: DeadLetter, /) -> int:
        """Keep a dead letter; return how many older ones were pushed out."""
        ...

    def letters(self, kind: str | None, limit: int, /) -> list[DeadLetter]:
        """Return dead letters, the oldest first."""
        ...

    def buried(self, message_ids: Iterable[str], /) -> dict[int, DeadLetter]:
        """Return all dead letters of these message ids, by the number that each has for itself."""
        ...

    def unbury(self, numbers: Iterable[int], /) -> list[DeadLetter]:
        """Take the dead letters of these numbers out and return those that were there."""
        ...
