"""How spaces are loaded from a SQLite store: two statements for up to 256 of them, whatever they need in memory.

As with writing, every statement and every row costs the interpreter; see `_sqlite_statements.py`.
"""

# ruff: noqa: S608 (SQL is put together from our own words; values go beside it)

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from spaceactors.stores._engine import KnownRow, Loaded, MessageRow, QuestionRow, SpaceRow, StepRow, TimerRow
from spaceactors.stores._sqlite_statements import pages

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from spaceactors.stores._engine import Key

SPACE = "kind, id, grp, state, version, epoch, length, next_entry, last_event, counters, flags, note"

# Table and columns of what is loaded with a space, in the order of `Loaded`.
_PARTS = (
    ("mailbox", ("number", "message_id", "body", "at", "expires_at", "attempts", "recoveries", "asleep")),
    ("steps", ("number", "position", "key", "body")),
    ("questions", ("seq", "question_id", "number", "name", "expires_at", "body")),
    ("timers", ("due", "key", "every", "body")),
    ("known", ("at", "message_id", "body")),
)
# The rows of all parts come with one statement, and so with as many columns as the widest has.
_WIDTH = max(len(columns) for _, columns in _PARTS)
# So many of the columns say the order; the others cannot be compared.
_ORDER = 2


def message(kind: str, id_: str, number: int, *others: Any) -> MessageRow:
    """Return a message from its columns."""
    *values, asleep = others
    return MessageRow._make((kind, id_, number, *values, bool(asleep)))


def spaces_of(connection: sqlite3.Connection, keys: Sequence[Key]) -> list[SpaceRow]:
    """Return those of these spaces that there are."""
    return [
        SpaceRow(*row)
        for length, values in pages(keys, 2)
        for row in connection.execute(_spaces_sql(length), values).fetchall()
    ]


def load(connection: sqlite3.Connection, spaces: Sequence[SpaceRow]) -> Iterator[Loaded]:
    """Return these spaces with what else they need in memory."""
    found: dict[tuple[int, str, str], list[Any]] = {}
    for length, values in pages([space[:2] for space in spaces], 2):
        for part, kind, id_, *row in connection.execute(_parts_sql(length), values).fetchall():
            found.setdefault((part, kind, id_), []).append(row)
    for space in spaces:
        yield _loaded(space, [_sorted(found.get((part, *space[:2]), [])) for part in range(len(_PARTS))])


def _sorted(rows: list[Any]) -> list[Any]:
    return sorted(rows, key=lambda row: row[:_ORDER]) if len(rows) > 1 else rows


def _loaded(space: SpaceRow, parts: list[Any]) -> Loaded:
    messages, steps, questions, timers, known = parts
    kind, id_ = space[:2]
    return Loaded(
        space,
        [message(kind, id_, *row) for row in messages],
        [StepRow(number, key, position, body) for number, position, key, body, *_ in steps],
        [QuestionRow(asked, kind, id_, *rest) for _, asked, *rest in (row[:6] for row in questions)],
        [TimerRow(key, due, every, body) for due, key, every, body, *_ in timers],
        [KnownRow(message_id, at, body) for at, message_id, body, *_ in known],
    )


@cache
def _spaces_sql(length: int) -> str:
    columns = ", ".join(f"t.{name}" for name in SPACE.split(", "))
    return f"{_keys(length)} SELECT {columns} FROM {_of_keys('spaces')}"


@cache
def _parts_sql(length: int) -> str:
    return f"{_keys(length)} {' UNION ALL '.join(_part_sql(part) for part in range(len(_PARTS)))}"


def _part_sql(part: int) -> str:
    table, columns = _PARTS[part]
    filled = [*(f"t.{name}" for name in columns), *["NULL"] * (_WIDTH - len(columns))]
    return f"SELECT {part}, t.kind, t.id, {', '.join(filled)} FROM {_of_keys(table)}"


def _keys(length: int) -> str:
    return f"WITH keys(kind, id) AS (VALUES {', '.join(['(?, ?)'] * length)})"


def _of_keys(table: str) -> str:
    """Return what finds the rows of the spaces: one look into the index for each."""
    return f"keys CROSS JOIN {table} AS t WHERE t.kind = keys.kind AND t.id = keys.id"
