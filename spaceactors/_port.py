"""The store port: through which calls a runtime keeps its spaces.

A turn ends in one `Commit`. A store takes it whole or not at all; the worker awaits `commit` and publishes afterwards.
The memory store's methods never really wait. A durable store does more (`DurablePort`), and the worker asks it in the
same places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spaceactors._actor import Actor
    from spaceactors._dead_letters import DeadLetter
    from spaceactors._errors import StoreError
    from spaceactors._feed import Emitted, Gap
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._receipt import Receipt
    from spaceactors._store import Commit, Entry, Known, Numbered, Recorded, Row, Settled
    from spaceactors._suspensions import Asked, Suspension
    from spaceactors._timers import Timer

S = TypeVar("S")


class Store(Protocol):
    """What every store must do; `spaceactors.MemoryStore` is the plainest one.

    You pass a store to `open_runtime(store=...)`, and use `update`, `update_if` and `update_many` to change states from
    outside an actor. A store that is `durable` does what `DurablePort` says, too.
    """

    # Whether a message counts as accepted, and a turn as settled, only when the store has written it.
    durable: bool

    @property
    def check(self) -> Callable[[object], None] | None:
        """What raises `BadCall` for arguments that the store could not write; None: it can keep any value."""
        ...

    # ---- states, from outside

    async def update(self, space: SpaceHandle[Actor[S]], change: Callable[[S], S], /) -> int:
        """Change a space's committed state from outside; return the new version.

        A turn that is running meanwhile runs again on the new state, and no attempt is counted.
        """
        ...

    async def update_if(self, space: SpaceHandle[Actor[S]], version: int, change: Callable[[S], S], /) -> int:
        """Change a space's state if it still has that version; return the new one.

        Raises:
            ConcurrentModification: it has another version by now; nothing is changed.

        """
        ...

    async def update_many(
        self, changes: Mapping[SpaceHandle[Actor[S]], Callable[[S], S]], /
    ) -> Mapping[SpaceHandle[Actor[S]], int]:
        """Change the states of several spaces, all or none; return their new versions."""
        ...

    async def version(self, space: SpaceHandle[Any], /) -> int:
        """Return how often a space's state was committed; 0: it has its first."""
        ...

    # ---- rows

    def find(self, kind: str, space_id: str, /) -> Row | None:
        """Return a space's row if it is in memory."""
        ...

    def create(self, kind: str, space_id: str, state: object, group: str | None, /) -> Row:
        """Begin a space's row."""
        ...

    async def peek(self, kind: str, space_id: str, /) -> Row | None:
        """Return a space's row to look at, whether it is in memory or not."""
        ...

    async def commit(self, row: Row, commit: Commit, /) -> None:
        """Keep what a turn did, whole or not at all.

        Raises:
            VersionLost: the row has another version than the turn read.
            EpochLost: the space belongs to a later opening of the store.
            StoreError: it cannot be kept now; nothing was.

        """
        ...

    async def delete(self, kind: str, space_id: str, /) -> None:
        """Remove all that is kept of a space."""
        ...

    async def rows(self, kind: str, *, after: str = "", limit: int = 100) -> Sequence[Row]:
        """Return rows of a kind in the order of their ids, to look at."""
        ...

    # ---- history and events

    def length(self, kind: str, space_id: str, /) -> int:
        """Return how many entries a history has."""
        ...

    async def recent(self, kind: str, space_id: str, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries of a history, oldest first."""
        ...

    async def entries(self, kind: str, space_id: str, after: int, limit: int, /) -> list[Entry]:
        """Return entries of a history behind a position, oldest first."""
        ...

    async def replay(self, kind: str, space_id: str, after: int, /) -> list[Emitted[Any] | Gap]:
        """Return the kept events behind a position, and a gap for those that are gone."""
        ...

    # ---- dead letters

    def bury(self, letter: DeadLetter, /) -> int:
        """Keep a dead letter; return how many older ones were pushed out."""
        ...

    async def letters(self, kind: str | None, space_id: str | None, after: int, limit: int, /) -> list[Numbered]:
        """Return dead letters behind a number, the oldest first."""
        ...

    async def buried(self, message_ids: Iterable[str], /) -> list[Numbered]:
        """Return all dead letters of these message ids, in the order of the ids."""
        ...

    async def unbury(self, numbers: Iterable[int], /) -> int:
        """Take the dead letters of these numbers out; return how many were there."""
        ...


class DurablePort(Store, Protocol):
    """What a store does beyond that when it outlives the process.

    Calls that return a `Receipt` do not wait: the store does what they say in their order, group by group. Where the
    text says *in the end*, the store tries until it can; other calls fail when the store cannot write now.
    """

    # ---- life

    async def open(self, hub: Hub, /) -> None:
        """Connect, and get ready for the spaces of this runtime. Raises `StoreError`."""
        ...

    async def run(self, failing: Callable[[StoreError], None], healed: Callable[[], None], /) -> None:
        """Write what there is to write, until cancelled; say when that begins to fail, and when it works again."""
        ...

    async def flush(self) -> bool:
        """Wait until everything that was asked for is written; tell whether it is, or cannot be now."""
        ...

    def stop(self) -> None:
        """Give up what could not be written, and take nothing more; what is there can still be read."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    def lose(self) -> None:
        """Forget everything that is not written, as a killed process would (tests)."""
        ...

    # ---- rows in memory

    def load(self, kind: str, space_id: str, /) -> Receipt[Row]:
        """Bring a space's row into memory; None in the receipt: there is none. Claims the space for this opening."""
        ...

    def release(self, row: Row, /) -> None:
        """Forget a row that nobody uses."""
        ...

    async def refresh(self, row: Row, /) -> None:
        """Read state and version of a row again, which somebody else has changed."""
        ...

    # ---- turns

    async def take(self, row: Row, /) -> None:
        """Wait until nobody else writes the row itself; whoever calls ends that with `free`."""
        ...

    def free(self, row: Row, /) -> None:
        """End the writing of a row."""
        ...

    def write_commit(self, row: Row, commit: Commit, /) -> Receipt[None] | None:
        """Have a commit written; None: there is nothing lasting in it. The row is taken. Raises as `commit`."""
        ...

    def committed(self, row: Row, commit: Commit, /) -> None:
        """Take over into memory what a commit has written."""
        ...

    def note(self, row: Row, /) -> None:
        """Keep, in the end, whether a space is stopped or quarantined."""
        ...

    async def settled_down(self, row: Row, /) -> None:
        """Wait until what was asked for so far of a space is written; return also if it cannot be now."""
        ...

    # ---- messages

    def pack(self, message: Message, kind: str, /) -> None:
        """Prepare a message to be written. Raises `BadCall` if its arguments cannot be."""
        ...

    def number(self, message: Message, /) -> None:
        """Give a message that is accepted its place among all: whenever it is written, that is where it is found."""
        ...

    def accept(self, row: Row, message: Message, /, *, insist: bool = False) -> Receipt[None]:
        """Write a message that has taken its place; with `insist`, in the end."""
        ...

    def put_back(self, row: Row, message: Message, /) -> None:
        """Keep, in the end, how often a written message was tried, and that it does not sleep."""
        ...

    def settle(self, row: Row, message: Message, settled: Settled, /) -> Receipt[None] | None:
        """Keep, in the end, the outcome of a message that no commit told; None: there is nothing to keep."""
        ...

    def record(self, row: Row, message: Message, key: str, step: Recorded, /) -> Receipt[None]:
        """Keep, in the end, the result of a step, and the message with it if it is not written yet."""
        ...

    def read_known(self, row: Row, known: Known, /) -> None:
        """Read what is remembered of an id. Raises an error if it cannot be read."""
        ...

    # ---- questions

    def ask(self, row: Row, asked: Asked, /) -> Receipt[None]:
        """Keep, in the end, that a message sleeps until a question is answered."""
        ...

    async def answer(self, row: Row, asked: Asked, step: Recorded, /) -> None:
        """Keep an answer, and that the message sleeps no more. Raises `VersionLost` if the question is closed."""
        ...

    async def questions(self, kind: str | None, limit: int, /) -> list[Suspension]:
        """Return open questions, the oldest first."""
        ...

    async def question(self, question_id: str, /) -> tuple[str, str] | None:
        """Return the kind and id of the space whose question this is, if it is open."""
        ...

    # ---- timers

    def set_timer(self, row: Row, key: str, timer: Timer | None, /) -> None:
        """Keep, in the end, a timer (None: that there is none) which no commit told."""
        ...

    async def next_due(self, after: float, /) -> float | None:
        """Return when the next timer of any space is due, or a question expires, in seconds of the runtime's clock."""
        ...

    async def due(self, until: float, limit: int, /) -> Sequence[tuple[str, str]]:
        """Return spaces in which something is due at `until` or before."""
        ...

    # ---- what an earlier process left

    async def count_recoveries(self) -> None:
        """Add a recovery to the message at the head of each line: it may be what killed the process."""
        ...

    async def waiting(self, after: int, limit: int, /) -> Sequence[tuple[int, str, str]]:
        """Return numbers of messages that wait, behind `after`, with the kinds and ids of their spaces."""
        ...

    async def asleep(self) -> int:
        """Return how many messages sleep."""
        ...
