"""What a runtime gives its store to keep, and gets back: rows, commits, outcomes. The calls are in `_port.py`."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence  # noqa: TC003 (attrs resolves them)
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, final

from attrs import define, field, frozen

from spaceactors._options import Outcome  # noqa: TC001 (attrs resolves it)

if TYPE_CHECKING:
    from datetime import datetime

    from spaceactors._dead_letters import DeadLetter
    from spaceactors._errors import Rejected
    from spaceactors._feed import Feed
    from spaceactors._handle import SpaceHandle
    from spaceactors._message import Message
    from spaceactors._suspensions import Asked
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

    message: Message | None
    outcome: Outcome
    # The reply if handled, the `Rejected` if rejected.
    result: Any
    # When it was settled, in seconds of Trio's clock.
    at: float
    # As a durable store keeps it: read when somebody comes with the id again.
    packed: bytes | None = None


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

    # ---- only in durable stores, which keep the history and the feed where they are

    # Why it is quarantined, if it is.
    quarantined: BaseException | None = None
    # Whether its turn waits for an answer; only in a row to look at, of a space that is not in memory.
    asleep: bool = False
    # Whether its state cannot be read by this program.
    unreadable: bool = False
    # Whether the database has the space.
    stored: bool = False
    # How many entries are kept, and the position of the newest event.
    length: int = 0
    last_event: int = 0
    # What was found with it, or left by an activation that ended while others held the row, and belongs into memory;
    # taken by the activation that begins with it.
    found: Found | None = None
    # How many hold the row in memory, activations apart.
    pins: int = 0
    # Whether something is being written of the row itself, who waits to do so too, and whether a note is to follow.
    held: bool = False
    line: deque[Any] | None = None
    note_due: bool = False

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

    def own_found(self) -> Found:
        """Return what the next activation takes up, to add to it."""
        if self.found is None:
            self.found = Found()
        return self.found

    def own_entries(self) -> list[Entry]:
        """Return the entries, to change them."""
        if not isinstance(self.entries, list):
            self.entries = list(self.entries)
        return self.entries


@final
class Commit:
    """What one turn did, to be kept whole or not at all; what most turns do not do is the class's own value."""

    def __init__(self, version: int, state: Any, message: Message | None, *, changed: bool) -> None:
        # The version that the turn read: the commit is refused if it is no longer the row's.
        self.version = version
        self.state = state
        self.message = message
        # Whether the turn assigned a state.
        self.changed = changed

    # Whether the turn did nothing else, and nothing of the message but its row is kept.
    plain: bool = False

    entries: Sequence[Entry] = ()
    timers: Mapping[str, Timer | None] = _NONE
    counts: Mapping[str, float] = _NONE
    # At most so many entries are kept.
    max_entries: int | None = None

    # The bytes of the new state, if somebody has wanted to know how many they are.
    packed_state: bytes | None = None

    # ---- what only a durable store must be told

    reply: Any = None
    emitted: Sequence[Any] = ()
    # Messages to other spaces, with the rows of these.
    outbox: Sequence[tuple[Row, Message]] = ()
    # Messages to spaces that another process owns: they become dead letters.
    returned: Sequence[tuple[SpaceHandle[Any], Message, Exception]] = ()
    # At most so many events are kept, so many ids remembered, for so many seconds.
    feed_size: int = 0
    dedupe_limit: int = 0
    dedupe_window: float = 0.0


@final
@define(eq=False)
class Found:
    """What a durable store had of a space that must go on."""

    # Accepted and not settled, in the order of acceptance.
    messages: list[Message] = field(factory=list["Message"])
    # The open question, whose message sleeps; and how many messages sleep, if it can be read or not.
    asked: Asked | None = None
    asleep: int = 0
    # What could not be read, with the reason: it ends as failed.
    unreadable: list[tuple[Message, Exception]] = field(factory=list["tuple[Message, Exception]"])


@final
@define(eq=False)
class Settled:
    """How a message ended that no commit told."""

    outcome: Outcome
    # The `Rejected` of an id that is remembered.
    rejected: Rejected | None = None
    # Why it becomes a dead letter, if it does.
    letter: BaseException | None = None


@final
@define(eq=False)
class Recorded:
    """A finished step of a message, or an answer that it got."""

    # How many steps and questions had begun before it, and whether it ran alone.
    position: int
    alone: bool
    value: Any


@final
@frozen
class Numbered:
    """A dead letter with its number, under which a store knows it."""

    number: int
    letter: DeadLetter


class VersionLost(Exception):
    """Somebody else updated the row: the turn must run again on what is there now."""


class EpochLost(Exception):
    """A later opening of the store owns the space now: who finds this out has nothing more to say in it."""
