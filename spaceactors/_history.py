"""The append-only log of a space, as its turns write it and as everybody reads it."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Protocol, final

import trio

from spaceactors._store import Entry
from spaceactors._turn import here, inside, outside_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spaceactors._port import Store
    from spaceactors._space import Space


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

    __slots__ = ("_key", "_store")

    def __init__(self, store: Store, kind: str, space_id: str) -> None:
        self._store = store
        self._key = (kind, space_id)

    def __len__(self) -> int:
        return self._store.length(*self._key)

    async def recent(self, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        await trio.lowlevel.checkpoint()
        return await self._store.recent(*self._key, n)

    async def read(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` entries behind the position `after`, oldest first."""
        await trio.lowlevel.checkpoint()
        return await self._store.entries(*self._key, after, limit)


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
        self._space.worker_of(place).record.append(entry)

    def _appended(self) -> Sequence[Any]:
        place = here.get()
        if place is None or not inside(self._space):
            return []
        record = self._space.worker_of(place).maybe_record
        return [] if record is None else record.entries

    @property
    def _key(self) -> tuple[str, str]:
        return (self._space.row.kind, self._space.row.id)

    def __len__(self) -> int:
        return self._space.runtime.store.length(*self._key) + len(self._appended())

    async def recent(self, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        await trio.lowlevel.checkpoint()
        new = self._appended()
        kept = await self._space.runtime.store.recent(*self._key, n - len(new)) if n > len(new) else []
        return [*kept, *(new[-n:] if n > 0 else [])]

    async def read(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` entries behind the position `after`, oldest first."""
        await trio.lowlevel.checkpoint()
        row, now = self._space.row, self._space.clock
        found = await self._space.runtime.store.entries(*self._key, after, limit)
        new = [Entry(row.next_position + number, now.date(now.now), one) for number, one in enumerate(self._appended())]
        return [*found, *page(new, after, limit - len(found))] if new else found
