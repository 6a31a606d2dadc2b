"""What a durable store looks up: beside what is written, and without taking anything into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from spaceactors._errors import StoreError
from spaceactors._feed import Emitted, Gap
from spaceactors.stores._desk import Desk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._store import Entry, Numbered, Row
    from spaceactors._suspensions import Suspension
    from spaceactors.stores._engine import Engine, Key, MessageRow, SpaceRow
    from spaceactors.stores._thaw import Thawer

_CLOSED = "the store is closed: it is open while a runtime has it"


class Reading:
    """The reading half of `DurableStore`: the calls of the port that change nothing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._hub: Hub | None = None
        self._desk = Desk(engine)
        self._thaw: Thawer
        # The rows that are in memory.
        self._rows: dict[tuple[str, str], Row] = {}

    def _home(self) -> Hub:
        if self._hub is None:
            raise StoreError(_CLOSED)
        return self._hub

    # ---- spaces

    async def peek(self, kind: str, space_id: str, /) -> Row | None:
        """Return a row to look at."""
        await trio.lowlevel.checkpoint()
        row = self._rows.get((kind, space_id))
        if row is not None:
            return row
        space, first = await self._desk.read(self._looked_at, (kind, space_id))
        if space is None:
            return None
        row = self._thaw.row(space)
        row.asleep = bool(first) and first[0].asleep
        return row

    def _looked_at(self, key: Key) -> tuple[SpaceRow | None, Sequence[MessageRow]]:
        """Read a space and its first message; runs in a worker thread."""
        return self._engine.space(key), self._engine.messages(key, 0, 1)

    async def rows(self, kind: str, *, after: str = "", limit: int = 100) -> Sequence[Row]:
        """Return rows to look at, in the order of their ids."""
        found = await self._desk.read(self._engine.spaces, kind, after, limit)
        return [self._thaw.row(one) for one in found]

    async def version(self, space: SpaceHandle[Any], /) -> int:
        """Return how often a space's state was committed."""
        row = await self.peek(space.kind, space.id)
        return 0 if row is None else row.version

    # ---- questions and timers

    async def questions(self, kind: str | None, limit: int, /) -> list[Suspension]:
        """Return open questions."""
        kinds = self._home().by_name
        found = await self._desk.read(self._engine.questions, kind, limit)
        return [self._thaw.suspension(one) for one in found if one.kind in kinds]

    async def question(self, question_id: str, /) -> tuple[str, str] | None:
        """Return whose question this is."""
        found = await self._desk.read(self._engine.question, question_id)
        return None if found is None or found.kind not in self._home().by_name else (found.kind, found.id)

    async def next_due(self, after: float, /) -> float | None:
        """Return when the next timer is due or question expires."""
        clock = self._home().clock
        wall = await self._desk.read(self._engine.next_due, tuple(self._home().by_name), clock.wall(after))
        return None if wall is None else clock.moment_of(wall)

    async def due(self, until: float, limit: int, /) -> Sequence[tuple[str, str]]:
        """Return spaces in which something is due."""
        hub = self._home()
        return await self._desk.read(self._engine.due, tuple(hub.by_name), hub.clock.wall(until), limit)

    # ---- what an earlier process left

    async def waiting(self, after: int, limit: int, /) -> Sequence[tuple[int, str, str]]:
        """Return messages that wait."""
        return await self._desk.read(self._engine.waiting, tuple(self._home().by_name), after, limit)

    async def asleep(self) -> int:
        """Return how many messages sleep."""
        return await self._desk.read(self._engine.asleep, tuple(self._home().by_name))

    # ---- history and events

    def length(self, kind: str, space_id: str, /) -> int:
        """Return how many entries a history has; of a space that is not in memory it is read while you wait."""
        row = self._rows.get((kind, space_id))
        if row is not None:
            return row.length
        space = self._engine.space((kind, space_id))
        return 0 if space is None else space.length

    async def recent(self, kind: str, space_id: str, n: int, /) -> list[Any]:
        """Return the last values of a history."""
        found = await self._desk.read(self._engine.recent, (kind, space_id), max(n, 0)) if n > 0 else ()
        return [self._thaw.entry(one).value for one in found]

    async def entries(self, kind: str, space_id: str, after: int, limit: int, /) -> list[Entry]:
        """Return entries of a history."""
        found = await self._desk.read(self._engine.entries, (kind, space_id), after, max(limit, 0))
        return [self._thaw.entry(one) for one in found]

    async def replay(self, kind: str, space_id: str, after: int, /) -> list[Emitted[Any] | Gap]:
        """Return the kept events behind a position."""
        row = await self.peek(kind, space_id)
        if row is None or row.last_event <= after:
            return []
        found = await self._desk.read(self._engine.events, (kind, space_id), after)
        events: list[Emitted[Any] | Gap] = [Emitted(self._thaw.value(body), position) for position, body in found]
        oldest = found[0][0] if found else row.last_event + 1
        return [Gap(oldest - after - 1), *events] if oldest > after + 1 else events

    # ---- dead letters

    async def letters(self, kind: str | None, space_id: str | None, after: int, limit: int, /) -> list[Numbered]:
        """Return dead letters behind a number."""
        kinds = self._home().by_name
        letters: list[Numbered] = []
        # Those of kinds that are not open here must not be taken for the end.
        while len(letters) < limit:
            wanted = limit - len(letters)
            found = await self._desk.read(self._engine.letters, kind, space_id, after, wanted)
            letters += [self._thaw.letter(one) for one in found if one.kind in kinds]
            if len(found) < wanted:
                break
            after = found[-1].number
        return letters

    async def buried(self, message_ids: Iterable[str], /) -> list[Numbered]:
        """Return all dead letters of these ids."""
        kinds, wanted = self._home().by_name, list(dict.fromkeys(message_ids))
        found = await self._desk.read(self._engine.letters_of, wanted)
        return [self._thaw.letter(one) for one in found if one.kind in kinds]
