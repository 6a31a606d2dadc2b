"""The store that forgets everything with the process: plain dictionaries."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio
from trio.lowlevel import enable_ki_protection

from spaceactors._encoding import encoding_check
from spaceactors._errors import ConcurrentModification
from spaceactors._history import last_values, page
from spaceactors._store import Numbered, Row, VersionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spaceactors._actor import Actor
    from spaceactors._dead_letters import DeadLetter
    from spaceactors._feed import Emitted, Gap
    from spaceactors._handle import SpaceHandle
    from spaceactors._store import Commit, Entry

S = TypeVar("S")

# Enough to look at by hand, little enough to keep; the event tells what was pushed out.
MOST_LETTERS = 10_000


def _timer_args(commit: Commit) -> list[Any]:
    return [timer.call.args for timer in commit.timers.values() if timer is not None]


@final
class MemoryStore:
    """Keeps spaces in this process's memory, as long as the store object lives; the default store.

    Args:
        check_encoding: refuse arguments and states that a durable store could not write, so that tests find them.

    """

    durable = False

    def __init__(self, *, check_encoding: bool = False) -> None:
        self.check = encoding_check() if check_encoding else None
        self._rows: dict[tuple[str, str], Row] = {}
        # Ids in order, by kind; made when somebody turns the pages, forgotten when one comes or goes.
        self._ids: dict[str, list[str]] = {}
        # By a number of their own, the oldest first: a message id may come up in several spaces, or fail again.
        self._letters: OrderedDict[int, DeadLetter] = OrderedDict()
        self._numbers = count(1)

    @enable_ki_protection
    async def update(self, space: SpaceHandle[Actor[S]], change: Callable[[S], S], /) -> int:
        """Change a space's committed state from outside; return the new version."""
        await trio.lowlevel.checkpoint()
        return _replace({space: change}, None)[space]

    @enable_ki_protection
    async def update_if(self, space: SpaceHandle[Actor[S]], version: int, change: Callable[[S], S], /) -> int:
        """Change a space's state if it still has that version; return the new one."""
        await trio.lowlevel.checkpoint()
        return _replace({space: change}, version)[space]

    @enable_ki_protection
    async def update_many(
        self, changes: Mapping[SpaceHandle[Actor[S]], Callable[[S], S]], /
    ) -> Mapping[SpaceHandle[Actor[S]], int]:
        """Change the states of several spaces, all or none; return their new versions."""
        await trio.lowlevel.checkpoint()
        return _replace(changes, None)

    async def version(self, space: SpaceHandle[Any], /) -> int:
        """Return how often a space's state was committed."""
        await trio.lowlevel.checkpoint()
        row = self.find(space.kind, space.id)
        return 0 if row is None else row.version

    def find(self, kind: str, space_id: str, /) -> Row | None:
        """Return a space's row if the space was ever used."""
        return self._rows.get((kind, space_id))

    async def peek(self, kind: str, space_id: str, /) -> Row | None:
        """Return a space's row if the space was ever used."""
        return self._rows.get((kind, space_id))

    def create(self, kind: str, space_id: str, state: object, group: str | None, /) -> Row:
        """Begin a space's row."""
        self._ids.pop(kind, None)
        row = self._rows[kind, space_id] = Row(kind, space_id, state, group=group)
        return row

    async def commit(self, row: Row, commit: Commit, /) -> None:
        """Keep what a turn did."""
        if row.version != commit.version:
            raise VersionLost
        if self.check is not None:
            self.check((commit.state, [one.value for one in commit.entries], _timer_args(commit)))
        if commit.changed:
            row.state = commit.state
            row.version += 1
        if commit.entries:
            kept = row.own_entries()
            kept.extend(commit.entries)
            row.next_position += len(commit.entries)
            if commit.max_entries is not None:
                del kept[: -commit.max_entries]
        for name, amount in commit.counts.items():
            row.own_counters()[name] = row.counters.get(name, 0) + amount

    async def delete(self, kind: str, space_id: str, /) -> None:
        """Remove all that is kept of a space, its dead letters too."""
        self._rows.pop((kind, space_id), None)
        self._ids.pop(kind, None)
        mine = [key for key, one in self._letters.items() if (one.space.kind, one.space.id) == (kind, space_id)]
        for key in mine:
            del self._letters[key]

    async def rows(self, kind: str, *, after: str = "", limit: int = 100) -> Sequence[Row]:
        """Return rows of a kind in the order of their ids."""
        return self.rows_now(kind, after=after, limit=limit)

    def rows_now(self, kind: str, *, after: str = "", limit: int = 100) -> list[Row]:
        """Return rows of a kind in the order of their ids."""
        ids = self._ids.get(kind)
        if ids is None:
            ids = self._ids[kind] = sorted(space_id for its_kind, space_id in self._rows if its_kind == kind)
        first = bisect_right(ids, after) if after else 0
        return [self._rows[kind, space_id] for space_id in ids[first : first + limit]]

    # ---- history and events

    def _kept(self, kind: str, space_id: str) -> Sequence[Entry]:
        row = self._rows.get((kind, space_id))
        return () if row is None else row.entries

    def length(self, kind: str, space_id: str, /) -> int:
        """Return how many entries a history has."""
        return len(self._kept(kind, space_id))

    async def recent(self, kind: str, space_id: str, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        return last_values(self._kept(kind, space_id), n)

    async def entries(self, kind: str, space_id: str, after: int, limit: int, /) -> list[Entry]:
        """Return up to `limit` entries behind a position."""
        return page(self._kept(kind, space_id), after, limit)

    async def replay(self, kind: str, space_id: str, after: int, /) -> list[Emitted[Any] | Gap]:
        """Return the kept events behind a position."""
        row = self._rows.get((kind, space_id))
        return [] if row is None or row.feed is None else row.feed.after(after)

    # ---- dead letters

    def bury(self, letter: DeadLetter, /) -> int:
        """Keep a dead letter, and no more than ten thousand of them."""
        self._letters[next(self._numbers)] = letter
        if len(self._letters) <= MOST_LETTERS:
            return 0
        self._letters.popitem(last=False)
        return 1

    async def letters(self, kind: str | None, space_id: str | None, after: int, limit: int, /) -> list[Numbered]:
        """Return dead letters behind a number, the oldest first."""
        chosen = (
            Numbered(number, one)
            for number, one in self._letters.items()
            if number > after and kind in {None, one.space.kind} and space_id in {None, one.space.id}
        )
        return [letter for letter, _ in zip(chosen, range(limit), strict=False)]

    async def buried(self, message_ids: Iterable[str], /) -> list[Numbered]:
        """Return all dead letters of these ids, in the order of the ids."""
        found: dict[str, list[Numbered]] = {message_id: [] for message_id in message_ids}
        for number, letter in self._letters.items():
            if letter.message.id in found:
                found[letter.message.id].append(Numbered(number, letter))
        return [letter for letters in found.values() for letter in letters]

    async def unbury(self, numbers: Iterable[int], /) -> int:
        """Take dead letters out; return how many were there."""
        return sum(self._letters.pop(number, None) is not None for number in numbers)


def _replace(changes: Mapping[Any, Callable[[Any], Any]], version: int | None) -> dict[SpaceHandle[Any], int]:
    """Change states, all or none: whoever raises, nothing is changed then."""
    rows = {space: space._row() for space in changes}
    for space, row in rows.items():
        if version is not None and row.version != version:
            msg = f"the state of {space.id} has version {row.version}, not {version}: somebody changed it meanwhile"
            raise ConcurrentModification(msg, space=space)
    new = {space: changes[space](row.state) for space, row in rows.items()}
    for space, row in rows.items():
        row.state = new[space]
        row.version += 1
        space._state_replaced()
    return {space: row.version for space, row in rows.items()}
