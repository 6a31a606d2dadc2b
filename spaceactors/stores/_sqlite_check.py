"""What can be wrong in a SQLite store: SQLite's own check, and what our rows must agree on."""

# ruff: noqa: S608 (SQL is put together from our own words)

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from spaceactors.stores import _schema as schema
from spaceactors.stores._schema import Type

if TYPE_CHECKING:
    from collections.abc import Iterator

# At most so many sentences of each kind: a broken disk breaks many rows.
_MOST = 20

# The same space, and the same message, in two tables.
_SPACE = "b.kind = a.kind AND b.id = a.id"
_MESSAGE = f"{_SPACE} AND b.number = a.number"

# The sentence about a row that breaks a rule, and what finds such rows.
_RULES = {
    "space {} {!r} has numbers below zero (version {}, length {})": (
        "SELECT kind, id, version, length FROM spaces WHERE min(version, length, next_entry - 1, last_event) < 0"
    ),
    "space {} {!r} belongs to epoch {}, and the latest opening was {}": (
        "SELECT kind, id, epoch, value FROM spaces, meta WHERE name = 'epoch' AND epoch > value"
    ),
    "space {} {!r} should have {} history entries and has {}": (
        f"SELECT kind, id, length, (SELECT count(*) FROM history AS b WHERE {_SPACE}) AS kept"
        " FROM spaces AS a WHERE length != kept"
    ),
    "space {} {!r} would write history entry {} next, and has entry {}": (
        f"SELECT kind, id, next_entry, (SELECT max(position) FROM history AS b WHERE {_SPACE}) AS last"
        " FROM spaces AS a WHERE next_entry <= last"
    ),
    "space {} {!r} says that its last event is {}, and has event {}": (
        f"SELECT kind, id, last_event, (SELECT max(position) FROM events AS b WHERE {_SPACE}) AS last"
        " FROM spaces AS a WHERE last_event < last"
    ),
    "space {} {!r} keeps a step of message {}, which is not there: {!r}": (
        f"SELECT kind, id, number, key FROM steps AS a WHERE NOT EXISTS (SELECT 1 FROM mailbox AS b WHERE {_MESSAGE})"
    ),
    "space {} {!r} keeps a question of message {}, which is not there: {!r}": (
        "SELECT kind, id, number, question_id FROM questions AS a"
        f" WHERE NOT EXISTS (SELECT 1 FROM mailbox AS b WHERE {_MESSAGE})"
    ),
    **{
        f"there is no space {{}} {{!r}}, but {{}} of its rows in {table.name}": (
            f"SELECT kind, id, count(*) FROM {table.name} AS a"
            f" WHERE NOT EXISTS (SELECT 1 FROM spaces AS b WHERE {_SPACE}) GROUP BY kind, id"
        )
        # A dead letter may be of a space that never began.
        for table in schema.OF_SPACES
        if table not in {schema.SPACES, schema.LETTERS}
    },
}


# SQLite itself takes any value in any column.
_TYPES = {
    Type.TEXT: "text",
    Type.INTEGER: "integer",
    Type.REAL: "real",
    Type.BYTES: "blob",
    Type.SERIAL: "integer",
}


def _of_wrong_types(connection: sqlite3.Connection, table: schema.Table) -> Iterator[str]:
    wrong = ", ".join(
        f"""sum(typeof("{one.name}") NOT IN ('{_TYPES[one.type]}', '{"null" if one.null else ""}'))"""
        for one in table.columns
    )
    counts = connection.execute(f"SELECT {wrong} FROM {table.name}").fetchone()
    for column, count in zip(table.columns, counts, strict=True):
        if count:
            yield f"in {table.name}, {count} values of {column.name} are no {_TYPES[column.type]}"


def problems(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong, in sentences; in a damaged file, as much as can be found out."""
    found: list[str] = []
    try:
        checked = connection.execute(f"PRAGMA integrity_check({_MOST})")
        found += (f"SQLite finds: {text}" for (text,) in checked if text != "ok")
        for table in schema.TABLES:
            found += _of_wrong_types(connection, table)
        for sentence, sql in _RULES.items():
            found += (sentence.format(*row) for row in connection.execute(f"{sql} LIMIT {_MOST}"))
    except sqlite3.DatabaseError as error:
        found.append(f"SQLite could not check further: {error}")
    return found
