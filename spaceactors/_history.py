"""The append-only log of a space, as its turns write it and as everybody reads it."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Protocol, final

import trio

from spaceactors._store import Entry
from spaceactors._turn import here, inside, outside_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spaceactors._space import Space
    from spaceactors._store import Row


class HistoryReader(Protocol):
    """The history as anybody may read it: `handle.history`."""

    def __len__(self) -> int:
        """Return how many entries are kept."""
        ...

    async def recent(self, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        ...

    async def read(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` entries behind the position `after`, oldest first."""
        ...


def last_values(entries: Sequence[Entry], n: int) -> list[Any]:
    """Return the values of the last `n` entries. Pure."""
    return [one.value for one in entries[max(len(entries) - n, 0) :]] if n > 0 else []


def page(entries: Sequence[Entry], after: int, limit: int) -> list[Entry]:
    """Return up to `limit` entries behind a position; the entries are in the order of their positions. Pure."""
    first = bisect_right(entries, after, key=lambda one: one.position)
    return list(entries[first : first + max(limit, 0)])


@final
class CommittedHistory:
    """What is committed, read from outside."""

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[], Row | None]) -> None:
        self._find = find

    def _entries(self) -> Sequence[Entry]:
        row = self._find()
        return () if row is None else row.entries

    def __len__(self) -> int:
        return len(self._entries())

    async def recent(self, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        await trio.lowlevel.checkpoint()
        return last_values(self._entries(), n)

    async def read(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` entries behind the position `after`, oldest first."""
        await trio.lowlevel.checkpoint()
        return page(self._entries(), after, limit)


@final
class History:
    """The history inside the actor: a turn reads what it has appended, everybody else when it is committed."""

    __slots__ = ("_space",)

    def __init__(self, space: Space) -> None:
        self._space = space

    def append(self, entry: object, /) -> None:
        """Append an entry with the turn's commit; hand it over, and do not change it afterwards."""
        place = here.get()
        if place is None or not inside(self._space):
            what = "history.append"
            raise outside_turn(what, self._space)
        self._space.worker_of(place).record.entries.append(entry)

    def _appended(self) -> list[Any]:
        place = here.get()
        if place is None or not inside(self._space):
            return []
        record = self._space.worker_of(place).maybe_record
        return [] if record is None else record.entries

    def __len__(self) -> int:
        return len(self._space.row.entries) + len(self._appended())

    async def recent(self, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        await trio.lowlevel.checkpoint()
        new = self._appended()
        return [*last_values(self._space.row.entries, n - len(new)), *(new[-n:] if n > 0 else [])]

    async def read(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` entries behind the position `after`, oldest first."""
        await trio.lowlevel.checkpoint()
        row, now = self._space.row, self._space.clock
        new = [Entry(row.next_position + number, now.date(now.now), one) for number, one in enumerate(self._appended())]
        return page([*row.entries, *new], after, limit) if new else page(row.entries, after, limit)
