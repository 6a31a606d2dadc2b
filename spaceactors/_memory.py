"""The store that forgets everything with the process: plain dictionaries."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio
from trio.lowlevel import enable_ki_protection

from spaceactors._encoding import encoding_check
from spaceactors._store import Row, VersionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spaceactors._actor import Actor
    from spaceactors._dead_letters import DeadLetter
    from spaceactors._handle import SpaceHandle
    from spaceactors._store import Commit

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
        row = space._row()
        row.state = change(row.state)
        row.version += 1
        space._state_replaced()
        return row.version

    def find(self, kind: str, space_id: str, /) -> Row | None:
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

    def rows(self, kind: str, *, after: str = "", limit: int = 100) -> list[Row]:
        """Return rows of a kind in the order of their ids."""
        ids = self._ids.get(kind)
        if ids is None:
            ids = self._ids[kind] = sorted(space_id for its_kind, space_id in self._rows if its_kind == kind)
        first = bisect_right(ids, after) if after else 0
        return [self._rows[kind, space_id] for space_id in ids[first : first + limit]]

    def bury(self, letter: DeadLetter, /) -> int:
        """Keep a dead letter, and no more than ten thousand of them."""
        self._letters[next(self._numbers)] = letter
        if len(self._letters) <= MOST_LETTERS:
            return 0
        self._letters.popitem(last=False)
        return 1

    def letters(self, kind: str | None, limit: int, /) -> list[DeadLetter]:
        """Return dead letters, the oldest first."""
        chosen = (one for one in self._letters.values() if kind is None or one.space.kind == kind)
        return [letter for letter, _ in zip(chosen, range(limit), strict=False)]

    def buried(self, message_ids: Iterable[str], /) -> dict[int, DeadLetter]:
        """Return all dead letters of these ids, by number, in the order of the ids."""
        found: dict[str, dict[int, DeadLetter]] = {message_id: {} for message_id in message_ids}
        for number, letter in self._letters.items():
            if letter.message.id in found:
                found[letter.message.id][number] = letter
        return {number: letter for letters in found.values() for number, letter in letters.items()}

    def unbury(self, numbers: Iterable[int], /) -> list[DeadLetter]:
        """Take dead letters out and return them."""
        return [self._letters.pop(number) for number in numbers if number in self._letters]
