"""What is read from a SQLite store: beside the writing, on connections of its own."""

# ruff: noqa: S608 (SQL is put together from our own words; values go beside it)

from __future__ import annotations

from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from spaceactors._errors import StoreError
from spaceactors.stores._engine import (
    EntryRow,
    LetterRow,
    MessageRow,
    QuestionRow,
    SpaceRow,
    TimerRow,
)
from spaceactors.stores._scan import scan_sql
from spaceactors.stores._sqlite_file import connect, roll_back, telling
from spaceactors.stores._sqlite_load import SPACE, message
from spaceactors.stores._tally import counters_sql, tally

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Generator, Mapping, Sequence

    from spaceactors.stores._engine import Key, Tally

# Reads at the same time; more wait for a connection.
MOST_READERS = 3
# Kilobytes of pages that a reading connection keeps.
_CACHE = 1000
# Seconds that a read may go on when all is closed.
_PATIENCE = 0.1
# How many values are asked for in one statement.
_PAGE = 500

_MESSAGE = "kind, id, number, message_id, body, at, expires_at, attempts, recoveries, asleep"
_QUESTION = "question_id, kind, id, number, name, expires_at, body"
_LETTER = "number, kind, id, message_id, attempts, at, body, error"


def marks(values: Collection[object]) -> str:
    """Return a place for each value."""
    return ", ".join("?" * len(values))


class Readers:
    """A few connections that can only read, made when they are needed."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lent: list[sqlite3.Connection] = []
        self._places = BoundedSemaphore(MOST_READERS)
        self._closed = False

    @contextmanager
    def borrow(self) -> Generator[sqlite3.Connection, None, None]:
        """Lend a connection to this thread."""
        with self._places, telling(self._name):
            if self._closed:
                raise StoreError(f"{self._name}: it is closed; open it first")
            connection = self._idle.pop() if self._idle else connect(self._path, cache=_CACHE, reading=True)
            self._lent.append(connection)
            try:
                yield connection
            finally:
                self._lent.remove(connection)
                self._idle.append(connection)

    def close(self) -> None:
        """Wait for the reads that are under way, but cut long ones short, and close all connections."""
        self._closed = True
        for _ in range(MOST_READERS):
            while not self._places.acquire(timeout=_PATIENCE):
                # A check of a large file takes minutes, and nobody waits for it any more.
                for connection in tuple(self._lent):
                    connection.interrupt()
        while self._idle:
            self._idle.pop().close()
        self._places.release(MOST_READERS)


class Reading:
    """The reading half of an engine."""

    _readers: Readers

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._readers.borrow() as connection:
            return connection.execute(sql, values).fetchall()

    def space(self, key: Key, /) -> SpaceRow | None:
        """Return what is kept of a space itself."""
        rows = self._read(f"SELECT {SPACE} FROM spaces WHERE kind = ? AND id = ?", key)
        return SpaceRow(*rows[0]) if rows else None

    def spaces(self, kind: str, after: str, limit: int, /) -> Sequence[SpaceRow]:
        """Return spaces of a kind in the order of their ids, behind the id `after`."""
        sql = f"SELECT {SPACE} FROM spaces WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
        return [SpaceRow(*row) for row in self._read(sql, (kind, after, limit))]

    def kinds(self) -> Sequence[tuple[str, int]]:
        """Return the kinds of which there are spaces, with how many."""
        return self._read("SELECT kind, count(*) FROM spaces GROUP BY kind ORDER BY kind")

    def waiting(self, kinds: Collection[str], after: int, limit: int, /) -> Sequence[tuple[int, str, str]]:
        """Return messages behind `after` that do not sleep: number, kind, id."""
        # The + keeps SQLite from reading all messages of the kinds and sorting them.
        sql = (
            "SELECT number, kind, id FROM mailbox"
            f" WHERE number > ? AND asleep = 0 AND +kind IN ({marks(kinds)}) ORDER BY number LIMIT ?"
        )
        return self._read(sql, (after, *kinds, limit))

    def messages(self, key: Key, after: int, limit: int, /) -> Sequence[MessageRow]:
        """Return the messages of a space, in the order of their numbers."""
        sql = f"SELECT {_MESSAGE} FROM mailbox WHERE kind = ? AND id = ? AND number > ? ORDER BY number LIMIT ?"
        return [message(*row) for row in self._read(sql, (*key, after, limit))]

    def asleep(self, kinds: Collection[str], /) -> int:
        """Return how many messages wait for an answer."""
        sql = f"SELECT count(*) FROM mailbox WHERE asleep = 1 AND kind IN ({marks(kinds)})"
        return int(self._read(sql, tuple(kinds))[0][0])

    def entries(self, key: Key, after: int, limit: int, /) -> Sequence[EntryRow]:
        """Return entries of a history behind a position, oldest first."""
        sql = (
            "SELECT position, at, value FROM history"
            " WHERE kind = ? AND id = ? AND position > ? ORDER BY position LIMIT ?"
        )
        return [EntryRow(*row) for row in self._read(sql, (*key, after, limit))]

    def recent(self, key: Key, n: int, /) -> Sequence[EntryRow]:
        """Return the last `n` entries, oldest first."""
        sql = "SELECT position, at, value FROM history WHERE kind = ? AND id = ? ORDER BY position DESC LIMIT ?"
        return [EntryRow(*row) for row in reversed(self._read(sql, (*key, n)))]

    def events(self, key: Key, after: int, /) -> Sequence[tuple[int, bytes]]:
        """Return the kept events behind a position, oldest first."""
        sql = "SELECT position, value FROM events WHERE kind = ? AND id = ? AND position > ? ORDER BY position"
        return self._read(sql, (*key, after))

    def timers(self, key: Key, /) -> Sequence[TimerRow]:
        """Return the timers of a space, the first due first."""
        sql = "SELECT key, due, every, body FROM timers WHERE kind = ? AND id = ? ORDER BY due, key"
        return [TimerRow(*row) for row in self._read(sql, key)]

    def next_due(self, kinds: Collection[str], after: float, /) -> float | None:
        """Return the earliest time after `after` at which a timer is due or a question expires."""
        if not kinds:
            return None
        # One look into an index for each kind. 9e999 is infinity: behind it come texts and bytes, which are no times.
        sql = f"""
            WITH k(kind) AS (VALUES {", ".join(["(?)"] * len(kinds))})
            SELECT min(next) FROM (
                SELECT (
                    SELECT min(due) FROM timers AS t WHERE t.kind = k.kind AND due > ? AND due <= 9e999
                ) AS next FROM k
                UNION ALL
                SELECT (
                    SELECT min(expires_at) FROM questions AS q
                    WHERE q.kind = k.kind AND expires_at > ? AND expires_at <= 9e999
                ) FROM k
            )"""
        found: float | None = self._read(sql, (*kinds, after, after))[0][0]
        return found

    def due(self, kinds: Collection[str], until: float, limit: int, /) -> Sequence[Key]:
        """Return spaces of which a timer is due, or a question expires, at `until` or before; each once."""
        places = marks(kinds)
        sql = f"""
            SELECT kind, id FROM (
                SELECT kind, id, due FROM timers WHERE kind IN ({places}) AND due <= ?
                UNION ALL
                SELECT kind, id, expires_at FROM questions WHERE kind IN ({places}) AND expires_at <= ?
            ) GROUP BY kind, id ORDER BY min(due), kind, id LIMIT ?"""
        return self._read(sql, (*kinds, until, *kinds, until, limit))

    def questions(self, kind: str | None, limit: int, /) -> Sequence[QuestionRow]:
        """Return open questions, the oldest first."""
        sql = f"SELECT {_QUESTION} FROM questions WHERE (?1 IS NULL OR kind = ?1) ORDER BY seq LIMIT ?2"
        return [QuestionRow(*row) for row in self._read(sql, (kind, limit))]

    def question(self, question_id: str, /) -> QuestionRow | None:
        """Return an open question."""
        rows = self._read(f"SELECT {_QUESTION} FROM questions WHERE question_id = ?", (question_id,))
        return QuestionRow(*rows[0]) if rows else None

    def letters(self, kind: str | None, space: str | None, after: int, limit: int, /) -> Sequence[LetterRow]:
        """Return dead letters behind a number, the oldest first."""
        asked = [("kind", kind), ("id", space)]
        wheres = [f"{name} = ?" for name, value in asked if value is not None]
        sql = f"SELECT {_LETTER} FROM letters WHERE {' AND '.join((*wheres, 'number > ?'))} ORDER BY number LIMIT ?"
        given = [value for _, value in asked if value is not None]
        return [LetterRow(*row) for row in self._read(sql, (*given, after, limit))]

    def letters_of(self, message_ids: Collection[str], /) -> Sequence[LetterRow]:
        """Return all dead letters of these message ids, the oldest first."""
        ids = list(dict.fromkeys(message_ids))
        found: list[LetterRow] = []
        for start in range(0, len(ids), _PAGE):
            part = ids[start : start + _PAGE]
            sql = f"SELECT {_LETTER} FROM letters WHERE message_id IN ({marks(part)})"
            found += (LetterRow(*row) for row in self._read(sql, part))
        return sorted(found)

    def scan(
        self, table: str, after: Sequence[Any], limit: int, where: Mapping[str, Any], /
    ) -> Sequence[Sequence[Any]]:
        """Return whole rows of a table behind a key, in the order of its key; `where`: columns that have a value."""
        sql, values = scan_sql(table, after, limit, where, "?")
        return self._read(sql, values)

    def tally(self) -> Tally:
        """Return how much of everything there is, as of one moment."""
        with self._readers.borrow() as connection:
            connection.execute("BEGIN")  # all that is read is of the moment of its first statement
            try:
                return tally(lambda sql: connection.execute(sql).fetchall())
            finally:
                roll_back(connection)

    def counters(self, after: Key | None, limit: int, /) -> Sequence[tuple[str, str, bytes]]:
        """Return kind, id and counters of spaces that have some, in this order, behind a space."""
        sql, values = counters_sql(after, limit, "?")
        return self._read(sql, values)
