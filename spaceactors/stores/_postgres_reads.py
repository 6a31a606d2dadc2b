"""What is read from PostgreSQL beside the writing connection: from any thread, over a few connections of its own."""

# ruff: noqa: S608 (SQL is put together from our own words)

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, final

import psycopg

from spaceactors._errors import StoreError
from spaceactors.stores._engine import (
    EntryRow,
    KnownRow,
    LetterRow,
    Loaded,
    MessageRow,
    QuestionRow,
    SpaceRow,
    StepRow,
    TimerRow,
)
from spaceactors.stores._postgres_link import lost
from spaceactors.stores._postgres_sql import Texts
from spaceactors.stores._scan import scan_sql
from spaceactors.stores._tally import counters_sql

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from psycopg.rows import TupleRow

    from spaceactors.stores._engine import Key
    from spaceactors.stores._postgres_link import Address, Link
    from spaceactors.stores._postgres_sql import Sending

# As many threads read at once; others wait for one of them, which ends within the patience of a connection.
MOST_READERS = 4


def _columns(row: type[tuple[object, ...]]) -> str:
    """Return the columns of a row type, as they are selected."""
    names: tuple[str, ...] = getattr(row, "_fields")  # noqa: B009 (each is a NamedTuple)
    return ", ".join("t.asleep <> 0" if name == "asleep" else f"t.{name}" for name in names)


SPACE, MESSAGE, STEP, QUESTION, ENTRY, TIMER, LETTER = (
    _columns(row) for row in (SpaceRow, MessageRow, StepRow, QuestionRow, EntryRow, TimerRow, LetterRow)
)

_LOADED = (
    f"SELECT {SPACE} FROM {{n}} JOIN spaces t USING (kind, id)",
    f"SELECT {MESSAGE} FROM {{n}} JOIN mailbox t USING (kind, id) ORDER BY t.number",
    f"SELECT t.kind, t.id, {STEP} FROM {{n}} JOIN steps t USING (kind, id) ORDER BY t.number, t.position",
    f"SELECT {QUESTION} FROM {{n}} JOIN questions t USING (kind, id) ORDER BY t.seq",
    f"SELECT t.kind, t.id, {TIMER} FROM {{n}} JOIN timers t USING (kind, id) ORDER BY t.due, t.key",
    f"SELECT t.kind, t.id, {_columns(KnownRow)} FROM {{n}} JOIN known t USING (kind, id) ORDER BY t.at, t.message_id",
)


def names_of(keys: Sequence[Key]) -> tuple[Texts, Texts]:
    """Return the kinds and the ids of spaces, each space once."""
    once = dict.fromkeys(keys)
    return Texts.of([kind for kind, _ in once]), Texts.of([space for _, space in once])


def loading(values: tuple[Texts, Texts]) -> list[Sending]:
    """Return the statements that read all that spaces need in memory."""
    return [(text.format(n="unnest(%s, %s) AS n(kind, id)"), values) for text in _LOADED]


def loaded(keys: Sequence[Key], answers: Sequence[Sequence[TupleRow]]) -> list[Loaded | None]:
    """Return what these statements found, space by space."""
    spaces, messages, steps, questions, timers, known = answers
    found = {(row.kind, row.id): Loaded(row, [], [], [], [], []) for row in map(SpaceRow._make, spaces)}

    def give(what: str, rows: Sequence[TupleRow], kind_at: int, made: type[tuple[object, ...]], skip: int) -> None:
        for row in rows:
            getattr(found[row[kind_at], row[kind_at + 1]], what).append(made(*row[skip:]))

    give("messages", messages, 0, MessageRow, 0)
    give("steps", steps, 0, StepRow, 2)
    give("questions", questions, 1, QuestionRow, 0)
    give("timers", timers, 0, TimerRow, 2)
    give("known", known, 0, KnownRow, 2)
    return [found.get(key) for key in keys]


@final
class Readers:
    """The reading connections: opened when they are needed, kept, replaced when they are lost."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: deque[Link] = deque()
        self._places = threading.BoundedSemaphore(MOST_READERS)
        self._closed = False

    def rows(self, text: str, *values: object) -> list[TupleRow]:
        """Read; a connection that was lost while it lay idle is replaced once.

        Raises:
            StoreError: it cannot be read now.

        """
        with self._places:
            link, fresh = self._take()
            try:
                try:
                    return self._rows(link, text, *values)
                except psycopg.Error:
                    if fresh or not link.closed:
                        raise
                return self._rows(self._open(), text, *values)
            except (psycopg.Error, UnicodeError) as error:
                raise self._address.error("cannot read", error) from error

    def _rows(self, link: Link, text: str, *values: object) -> list[TupleRow]:
        try:
            found = link.rows(text, *values)
        except psycopg.Error as error:
            if lost(link, error):
                link.close()
                self._drop_idle()  # what cut this one cut them as well
            else:
                self._give_back(link)
            raise
        except BaseException:
            link.close()
            raise
        self._give_back(link)
        return found

    def _take(self) -> tuple[Link, bool]:
        try:
            return self._idle.pop(), False
        except IndexError:
            return self._open(), True

    def _open(self) -> Link:
        if self._closed:
            raise StoreError(f"{self._address.name} is closed")
        return self._address.connect(default_transaction_read_only="on")

    def _give_back(self, link: Link) -> None:
        self._idle.append(link)
        if self._closed:
            self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Close what lies idle now, and what is in use when it is given back."""
        self._closed = True
        self._drop_idle()


class Reads:
    """The reading half of the engine."""

    _readers: Readers

    def space(self, key: Key, /) -> SpaceRow | None:
        """Return what is kept of a space itself."""
        rows = self._readers.rows(f"SELECT {SPACE} FROM spaces t WHERE kind = %s AND id = %s", *key)
        return SpaceRow._make(rows[0]) if rows else None

    def spaces(self, kind: str, after: str, limit: int, /) -> Sequence[SpaceRow]:
        """Return spaces of a kind in the order of their ids."""
        text = f"SELECT {SPACE} FROM spaces t WHERE kind = %s AND id > %s ORDER BY id LIMIT %s"
        return [SpaceRow._make(row) for row in self._readers.rows(text, kind, after, limit)]

    def kinds(self) -> Sequence[tuple[str, int]]:
        """Return the kinds of which there are spaces, with how many."""
        return [
            (row[0], row[1]) for row in self._readers.rows("SELECT kind, count(*) FROM spaces GROUP BY 1 ORDER BY 1")
        ]

    def waiting(self, kinds: Collection[str], after: int, limit: int, /) -> Sequence[tuple[int, str, str]]:
        """Return the messages that do not sleep, in the order of their numbers."""
        text = (
            "SELECT number, kind, id FROM mailbox WHERE number > %s AND kind = ANY(%s) AND asleep = 0"
            " ORDER BY number LIMIT %s"
        )
        return [(row[0], row[1], row[2]) for row in self._readers.rows(text, after, Texts.of([*kinds]), limit)]

    def messages(self, key: Key, after: int, limit: int, /) -> Sequence[MessageRow]:
        """Return the messages of a space, in the order of their numbers."""
        text = f"SELECT {MESSAGE} FROM mailbox t WHERE kind = %s AND id = %s AND number > %s ORDER BY number LIMIT %s"
        return [MessageRow._make(row) for row in self._readers.rows(text, *key, after, limit)]

    def asleep(self, kinds: Collection[str], /) -> int:
        """Return how many messages wait for an answer."""
        text = "SELECT count(*) FROM mailbox WHERE kind = ANY(%s) AND asleep = 1"
        count: int = self._readers.rows(text, Texts.of([*kinds]))[0][0]
        return count

    def entries(self, key: Key, after: int, limit: int, /) -> Sequence[EntryRow]:
        """Return entries of a history behind a position, oldest first."""
        text = f"SELECT {ENTRY} FROM history t WHERE kind = %s AND id = %s AND position > %s ORDER BY position LIMIT %s"
        return [EntryRow._make(row) for row in self._readers.rows(text, *key, after, limit)]

    def recent(self, key: Key, n: int, /) -> Sequence[EntryRow]:
        """Return the last entries, oldest first."""
        text = f"SELECT {ENTRY} FROM history t WHERE kind = %s AND id = %s ORDER BY position DESC LIMIT %s"
        return [EntryRow._make(row) for row in reversed(self._readers.rows(text, *key, n))]

    def events(self, key: Key, after: int, /) -> Sequence[tuple[int, bytes]]:
        """Return the kept events behind a position, oldest first."""
        text = "SELECT position, value FROM events WHERE kind = %s AND id = %s AND position > %s ORDER BY position"
        return [(row[0], row[1]) for row in self._readers.rows(text, *key, after)]

    def timers(self, key: Key, /) -> Sequence[TimerRow]:
        """Return the timers of a space, the first due first."""
        text = f"SELECT {TIMER} FROM timers t WHERE kind = %s AND id = %s ORDER BY due, key"
        return [TimerRow._make(row) for row in self._readers.rows(text, *key)]

    def next_due(self, kinds: Collection[str], after: float, /) -> float | None:
        """Return the earliest time behind `after` at which a timer is due or a question expires."""
        text = (
            "SELECT min(x.at) FROM unnest(%s) AS k(kind) CROSS JOIN LATERAL ("
            "(SELECT due AS at FROM timers t WHERE t.kind = k.kind AND t.due > %s ORDER BY due LIMIT 1)"
            " UNION ALL (SELECT expires_at FROM questions t WHERE t.kind = k.kind AND t.expires_at > %s"
            " ORDER BY expires_at LIMIT 1)) AS x"
        )
        when: float | None = self._readers.rows(text, Texts.of([*kinds]), float(after), float(after))[0][0]
        return when

    def due(self, kinds: Collection[str], until: float, limit: int, /) -> Sequence[Key]:
        """Return spaces of which a timer is due or a question expires, the longest due first."""
        text = (
            "SELECT kind, id FROM (SELECT kind, id, due FROM timers WHERE kind = ANY(%s) AND due <= %s"
            " UNION ALL SELECT kind, id, expires_at FROM questions WHERE kind = ANY(%s) AND expires_at <= %s) AS x"
            " GROUP BY kind, id ORDER BY min(due), kind, id LIMIT %s"
        )
        given = Texts.of([*kinds])
        return [(row[0], row[1]) for row in self._readers.rows(text, given, float(until), given, float(until), limit)]

    def questions(self, kind: str | None, limit: int, /) -> Sequence[QuestionRow]:
        """Return open questions, the oldest first."""
        where, values = ("", ()) if kind is None else (" WHERE kind = %s", (kind,))
        text = f"SELECT {QUESTION} FROM questions t{where} ORDER BY seq LIMIT %s"
        return [QuestionRow._make(row) for row in self._readers.rows(text, *values, limit)]

    def question(self, question_id: str, /) -> QuestionRow | None:
        """Return an open question."""
        rows = self._readers.rows(f"SELECT {QUESTION} FROM questions t WHERE question_id = %s", question_id)
        return QuestionRow._make(rows[0]) if rows else None

    def letters(self, kind: str | None, space: str | None, after: int, limit: int, /) -> Sequence[LetterRow]:
        """Return dead letters behind a number, the oldest first."""
        given = [(name, value) for name, value in (("kind", kind), ("id", space)) if value is not None]
        where = "".join(f" AND {name} = %s" for name, _ in given)
        text = f"SELECT {LETTER} FROM letters t WHERE number > %s{where} ORDER BY number LIMIT %s"
        rows = self._readers.rows(text, after, *(value for _, value in given), limit)
        return [LetterRow._make(row) for row in rows]

    def letters_of(self, message_ids: Collection[str], /) -> Sequence[LetterRow]:
        """Return all dead letters of these message ids, the oldest first."""
        text = f"SELECT {LETTER} FROM letters t WHERE message_id = ANY(%s) ORDER BY number"
        return [LetterRow._make(row) for row in self._readers.rows(text, Texts.of([*message_ids]))]

    def scan(
        self, table: str, after: Sequence[Any], limit: int, where: Mapping[str, Any], /
    ) -> Sequence[Sequence[Any]]:
        """Return whole rows of a table behind a key, in the order of its key; `where`: columns that have a value."""
        text, values = scan_sql(table, after, limit, where, "%s")
        return self._readers.rows(text, *values)

    def counters(self, after: Key | None, limit: int, /) -> Sequence[tuple[str, str, bytes]]:
        """Return kind, id and counters of spaces that have some, in this order, behind a space."""
        text, values = counters_sql(after, limit, "%s")
        return [(kind, space_id, counters) for kind, space_id, counters in self._readers.rows(text, *values)]
