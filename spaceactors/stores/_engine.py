"""What a database does for the durable store: it keeps rows of text, numbers and bytes, and knows nothing of actors.

`DurableStore` (`_durable.py`) turns what a runtime wants into writes and gives whole batches of them to an engine, one
batch at a time, from one thread. An engine makes one transaction of a batch. Reading calls may come from other threads
while a batch is written, and see what was committed before.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    # One row to write: what is done, and its values.
    Row: TypeAlias = tuple["Put", tuple[Any, ...]]

# Kind and id.
Key: TypeAlias = tuple[str, str]


@final
class Put(IntEnum):
    """What can be written, with its values. Within one batch all rows of a lower member come before those of a higher.

    Times are seconds since 1970. *Guarded*: the row must be there, or the whole `Write` is refused.
    """

    # (kind, id, grp, epoch): a space begins, with version 0 and no state (the class's first); nothing if it is there.
    NEW_SPACE = 1
    # (kind, id, number, message_id | None, body, at, expires_at | None, attempts, recoveries, epoch | None): a message
    # takes its place. With an epoch the space must have that epoch (guarded).
    NEW_MESSAGE = 2
    # (kind, id, epoch, version, new_version, state, length, next_entry, last_event, counters | None, flags,
    # note | None): guarded by epoch and version.
    SAVE_SPACE = 3
    # (kind, id, epoch, version, new_version, length, next_entry, last_event, counters | None, flags, note | None): the
    # same for a space whose state stays; guarded likewise.
    MARK_SPACE = 4
    # (kind, id, number, attempts, asleep): how a message stands.
    MARK_MESSAGE = 5
    # (kind, id, position, at, value): an entry of the history.
    ADD_ENTRY = 6
    # (kind, id, position): entries up to this position go.
    TRIM_ENTRIES = 7
    # (kind, id, position, value): an event of the feed.
    ADD_EVENT = 8
    # (kind, id, position): events up to this position go.
    TRIM_EVENTS = 9
    # (kind, id, key, due, every | None, body): in the place of an earlier one of that key.
    SET_TIMER = 10
    # (kind, id, key): a timer is over.
    DROP_TIMER = 11
    # (kind, id, message_id, at, body): in the place of an earlier one of that id.
    ADD_KNOWN = 12
    # (kind, id, message_id): an id is forgotten.
    DROP_KNOWN = 13
    # (kind, id, number, key, position, body): the result of a step, or an answer, of the message of that number.
    ADD_STEP = 14
    # (question_id, kind, id, number, name, expires_at | None, body): a message waits for an answer.
    ASK = 15
    # (question_id,): guarded.
    CLOSE_QUESTION = 16
    # (kind, id, message_id, attempts, at, body, error): a dead letter; the engine numbers them, rising.
    BURY = 17
    # (number,): a dead letter goes; guarded.
    UNBURY = 18
    # (kind, id, number): a message is settled; its steps and its question go with it. Guarded.
    DROP_MESSAGE = 19
    # The same for a message that has neither steps nor a question.
    DROP_PLAIN_MESSAGE = 20
    # (kind, id): everything of a space goes, its dead letters too. Alone in its batch.
    ERASE_SPACE = 21


# The bits of a space's flags.
STOPPED = 1
QUARANTINED = 2
# Quarantined only because a program could not read its state: one that can goes on with it.
PARKED = 4


class SpaceRow(NamedTuple):
    """What is kept of a space itself."""

    kind: str
    id: str
    grp: str | None
    # None: it never assigned one.
    state: bytes | None
    version: int
    epoch: int
    # How many entries its history has, and the position of the next.
    length: int
    next_entry: int
    last_event: int
    counters: bytes | None
    flags: int
    # Why it is quarantined.
    note: bytes | None


class MessageRow(NamedTuple):
    """An accepted message that is not settled."""

    kind: str
    id: str
    # Rises with the acceptance, over all spaces and openings.
    number: int
    # As given by the sender.
    message_id: str | None
    body: bytes
    at: float
    expires_at: float | None
    attempts: int
    recoveries: int
    # Whether its turn waits for an answer from outside.
    asleep: bool


class StepRow(NamedTuple):
    """The recorded result of a step, or the answer to a question."""

    number: int
    key: str
    position: int
    body: bytes


class QuestionRow(NamedTuple):
    """An open question."""

    question_id: str
    kind: str
    id: str
    number: int
    name: str
    expires_at: float | None
    body: bytes


class EntryRow(NamedTuple):
    """One entry of a history."""

    position: int
    at: float
    value: bytes


class TimerRow(NamedTuple):
    """One timer."""

    key: str
    due: float
    every: float | None
    body: bytes


class KnownRow(NamedTuple):
    """A settled message whose id is remembered."""

    message_id: str
    at: float
    body: bytes


class LetterRow(NamedTuple):
    """A dead letter."""

    number: int
    kind: str
    id: str
    message_id: str
    attempts: int
    at: float
    body: bytes
    error: bytes


class Tally(NamedTuple):
    """How much of everything there is, by kind."""

    # (kind, flags, spaces, entries of their histories, bytes of their states)
    spaces: Sequence[tuple[str, int, int, int, int]]
    # (kind, flags, spaces): those of the spaces above of which a message waits for an answer.
    asleep: Sequence[tuple[str, int, int]]
    # (kind, messages, of which asleep, when the oldest of the others was accepted)
    messages: Sequence[tuple[str, int, int, float | None]]
    letters: Sequence[tuple[str, int]]
    questions: Sequence[tuple[str, int]]
    # (kind, timers, when the next is due)
    timers: Sequence[tuple[str, int, float]]


class Loaded(NamedTuple):
    """Everything that a space needs in memory; its history and its events stay where they are."""

    space: SpaceRow
    # In the order of their numbers.
    messages: Sequence[MessageRow]
    # In the order of their positions.
    steps: Sequence[StepRow]
    questions: Sequence[QuestionRow]
    timers: Sequence[TimerRow]
    # The longest known first.
    known: Sequence[KnownRow]


class Engine(Protocol):
    """One database. Every call raises `StoreError`, with a clear text, for what the database cannot do now."""

    # How the database is named in errors and pictures: "SqliteStore(cafe.db)"; no password in it.
    name: str

    def open(self) -> int:
        """Connect, refuse what is no database of ours, bring the schema up to date; return this opening's epoch.

        The epoch is larger than that of every earlier opening, and kept.
        """
        ...

    def close(self) -> None:
        """Close all connections; more than once does no harm."""
        ...

    # ---- writing: one call at a time

    def write(self, writes: Sequence[Sequence[Row]], /) -> Sequence[Exception | None]:
        """Keep a batch in one transaction, and make it durable.

        Each inner sequence is kept whole or not at all. What is refused because of a guard gets its error in the
        result (`VersionLost`, `EpochLost` if the space belongs to a later opening) and harms no other.

        Raises:
            StoreError: nothing of the batch was kept. Whether an interrupted commit was kept is found out first.

        """
        ...

    def load(self, keys: Sequence[Key], epoch: int, /) -> Sequence[Loaded | None]:
        """Read spaces, and claim each for this epoch; None for one that there is not.

        Raises:
            EpochLost: one of them belongs to a later opening.

        """
        ...

    def count_recoveries(self, kinds: Collection[str], /) -> None:
        """Add one recovery to the first message of every space of these kinds.

        Not where it sleeps, nor in a quarantined space: these did not run.
        """
        ...

    # ---- reading: from other threads too

    def space(self, key: Key, /) -> SpaceRow | None:
        """Return what is kept of a space itself."""
        ...

    def spaces(self, kind: str, after: str, limit: int, /) -> Sequence[SpaceRow]:
        """Return spaces of a kind in the order of their ids, behind the id `after`."""
        ...

    def kinds(self) -> Sequence[tuple[str, int]]:
        """Return the kinds of which there are spaces, with how many."""
        ...

    def waiting(self, kinds: Collection[str], after: int, limit: int, /) -> Sequence[tuple[int, str, str]]:
        """Return waiting messages behind a number, rising: each number with the kind and id of its space.

        Not those that sleep.
        """
        ...

    def messages(self, key: Key, after: int, limit: int, /) -> Sequence[MessageRow]:
        """Return the messages of a space, in the order of their numbers."""
        ...

    def asleep(self, kinds: Collection[str], /) -> int:
        """Return how many messages wait for an answer."""
        ...

    def entries(self, key: Key, after: int, limit: int, /) -> Sequence[EntryRow]:
        """Return entries of a history behind a position, oldest first."""
        ...

    def recent(self, key: Key, n: int, /) -> Sequence[EntryRow]:
        """Return the last `n` entries, oldest first."""
        ...

    def events(self, key: Key, after: int, /) -> Sequence[tuple[int, bytes]]:
        """Return the kept events behind a position, oldest first."""
        ...

    def timers(self, key: Key, /) -> Sequence[TimerRow]:
        """Return the timers of a space, the first due first."""
        ...

    def next_due(self, kinds: Collection[str], after: float, /) -> float | None:
        """Return the earliest time after `after` at which a timer is due or a question expires."""
        ...

    def due(self, kinds: Collection[str], until: float, limit: int, /) -> Sequence[Key]:
        """Return spaces of which a timer is due, or a question expires, at `until` or before; each once."""
        ...

    def questions(self, kind: str | None, limit: int, /) -> Sequence[QuestionRow]:
        """Return open questions, the oldest first."""
        ...

    def question(self, question_id: str, /) -> QuestionRow | None:
        """Return an open question."""
        ...

    def letters(self, kind: str | None, space: str | None, after: int, limit: int, /) -> Sequence[LetterRow]:
        """Return dead letters behind a number, the oldest first."""
        ...

    def letters_of(self, message_ids: Collection[str], /) -> Sequence[LetterRow]:
        """Return all dead letters of these message ids, the oldest first."""
        ...

    def scan(
        self, table: str, after: Sequence[Any], limit: int, where: Mapping[str, Any], /
    ) -> Sequence[Sequence[Any]]:
        """Return whole rows of a table behind a key, in the order of its key; `where`: columns that have a value."""
        ...

    def tally(self) -> Tally:
        """Return how much of everything there is, as of one moment."""
        ...

    def counters(self, after: Key | None, limit: int, /) -> Sequence[tuple[str, str, bytes]]:
        """Return kind, id and counters of spaces that have some, in this order, behind a space."""
        ...

    # ---- care

    def verify(self) -> Sequence[str]:
        """Check the database through and through; return what is wrong with it, in sentences."""
        ...

    def vacuum(self) -> None:
        """Give unused space back to the disk. Not while batches are written."""
        ...
