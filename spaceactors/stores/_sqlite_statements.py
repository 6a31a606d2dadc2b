"""The SQL by which SQLite writes the rows of a batch: one statement for up to 256 rows.

Python gives the interpreter away at every row that a statement is stepped through, and may have to wait five
milliseconds to get it back: `executemany` over a batch would stand still for seconds beside a busy Trio thread.

OR FAIL leaves the rows before a broken rule in place; who writes rolls them back with all the rest. Without it SQLite
copies each page first, to undo this one statement.

Pure: text only. In a template `{1}` is the first value of a row, `{rows}` a list of rows in brackets.
"""

# ruff: noqa: S608 (SQL is put together from our own words; values go beside it)

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from spaceactors.stores import _schema as schema
from spaceactors.stores._engine import Put
from spaceactors.stores._schema import Table, Type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Longer statements are no faster, and a compiled one is kept for each length.
MOST_ROWS = 256

# How many compiled statements a connection keeps: every template in every length that occurs.
MOST_STATEMENTS = 320


class Template(NamedTuple):
    """How the rows of one group are written."""

    # For one row, and for several.
    one: str
    many: str
    # How many values a row has.
    width: int
    # Whether every row must be met.
    guarded: bool = False


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _put_in(table: Table, given: Sequence[str], fixed: dict[str, int], tail: str = "", guard: str = "") -> Template:
    """Return how rows are added: some columns as given, others always the same."""
    values = ", ".join((*(f"{{{n}}}" for n in range(1, len(given) + 1)), *(str(value) for value in fixed.values())))
    into = f"INSERT OR FAIL INTO {table.name} ({_columns((*given, *fixed))})"
    width = len(given) + (1 if guard else 0)
    # Without WHERE, SQLite would take ON CONFLICT for a part of a join.
    one = f"{into} SELECT {values} WHERE {guard or 'true'} {tail}"
    where = f"v.column1 IS NOT NULL AND ({guard})" if guard else "v.column1 IS NOT NULL"
    return Template(one, f"{into} SELECT {values} FROM (VALUES {{rows}}) AS v WHERE {where} {tail}", width, bool(guard))


def _new(table: Table, tail: str = "") -> Template:
    """Return how whole rows are added."""
    return _put_in(table, [column.name for column in table.columns if column.type is not Type.SERIAL], {}, tail)


def _instead(table: Table) -> str:
    """Return what makes a row take the place of an earlier one."""
    others = [name for name in table.names if name not in table.key]
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in others)
    return f"ON CONFLICT ({_columns(table.key)}) DO UPDATE SET {changes}"


def _change(table: Table, changed: Sequence[str], same: Sequence[str], *, guarded: bool = False) -> Template:
    """Return how rows are changed: the first values find the row, the others are its new ones."""
    changes = ", ".join(f'"{name}" = {{{n}}}' for n, name in enumerate(changed, len(same) + 1))
    where = " AND ".join(f'{table.name}."{name}" = {{{n}}}' for n, name in enumerate(same, 1))
    update = f"UPDATE OR FAIL {table.name} SET {changes}"
    many = f"{update} FROM (VALUES {{rows}}) AS v WHERE {where}"
    return Template(f"{update} WHERE {where}", many, len(changed) + len(same), guarded)


def _drop(table: Table, key: Sequence[str], *, up_to: bool = False, guarded: bool = False) -> Template:
    """Return how rows are taken out by a key; `up_to`: also all with less in its last column.

    Several are looked up first: for a list of whole keys, SQLite would look at every row of the table.
    """
    signs = ["="] * (len(key) - 1) + ["<=" if up_to else "="]
    where = " AND ".join(f't."{name}" {sign} {{{n}}}' for n, (name, sign) in enumerate(zip(key, signs, strict=True), 1))
    found = ", ".join(f't."{name}"' for name in table.key)
    return Template(
        f"DELETE FROM {table.name} AS t WHERE {where}",
        f"DELETE FROM {table.name} WHERE ({_columns(table.key)}) IN"
        f" (SELECT {found} FROM (VALUES {{rows}}) AS v CROSS JOIN {table.name} AS t WHERE {where})",
        len(key),
        guarded,
    )


_SPACE_GUARD = ("kind", "id", "epoch", "version")
_SPACE_REST = ("length", "next_entry", "last_event", "counters", "flags", "note")
_MESSAGE = ("kind", "id", "number")
_OWNED = "{10} IS NULL OR EXISTS (SELECT 1 FROM spaces AS s WHERE s.kind = {1} AND s.id = {2} AND s.epoch = {10})"

# A message's steps and questions go before it, so that the last group says whether it was there.
TEMPLATES: dict[Put, tuple[Template, ...]] = {
    Put.NEW_SPACE: (
        _put_in(
            schema.SPACES,
            ("kind", "id", "grp", "epoch"),
            {"version": 0, "length": 0, "next_entry": 1, "last_event": 0, "flags": 0},
            "ON CONFLICT (kind, id) DO NOTHING",
        ),
    ),
    Put.NEW_MESSAGE: (_put_in(schema.MAILBOX, schema.MAILBOX.names[:-1], {"asleep": 0}, guard=_OWNED),),
    Put.SAVE_SPACE: (_change(schema.SPACES, ("version", "state", *_SPACE_REST), _SPACE_GUARD, guarded=True),),
    Put.MARK_SPACE: (_change(schema.SPACES, ("version", *_SPACE_REST), _SPACE_GUARD, guarded=True),),
    Put.MARK_MESSAGE: (_change(schema.MAILBOX, ("attempts", "asleep"), _MESSAGE),),
    Put.ADD_ENTRY: (_new(schema.HISTORY),),
    Put.TRIM_ENTRIES: (_drop(schema.HISTORY, schema.HISTORY.key, up_to=True),),
    Put.ADD_EVENT: (_new(schema.EVENTS),),
    Put.TRIM_EVENTS: (_drop(schema.EVENTS, schema.EVENTS.key, up_to=True),),
    Put.SET_TIMER: (_new(schema.TIMERS, _instead(schema.TIMERS)),),
    Put.DROP_TIMER: (_drop(schema.TIMERS, schema.TIMERS.key),),
    Put.ADD_KNOWN: (_new(schema.KNOWN, _instead(schema.KNOWN)),),
    Put.DROP_KNOWN: (_drop(schema.KNOWN, schema.KNOWN.key),),
    Put.ADD_STEP: (_new(schema.STEPS),),
    Put.ASK: (_new(schema.QUESTIONS),),
    Put.CLOSE_QUESTION: (_drop(schema.QUESTIONS, ("question_id",), guarded=True),),
    Put.BURY: (_new(schema.LETTERS),),
    Put.UNBURY: (_drop(schema.LETTERS, ("number",), guarded=True),),
    Put.DROP_MESSAGE: (
        _drop(schema.STEPS, _MESSAGE),
        _drop(schema.QUESTIONS, _MESSAGE),
        _drop(schema.MAILBOX, _MESSAGE, guarded=True),
    ),
    Put.DROP_PLAIN_MESSAGE: (_drop(schema.MAILBOX, _MESSAGE, guarded=True),),
    Put.ERASE_SPACE: tuple(_drop(table, ("kind", "id")) for table in schema.OF_SPACES),
}

# A space is made ours: kind, id, epoch.
CLAIM = _change(schema.SPACES, ("epoch",), ("kind", "id"))


def statements(template: Template, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Return the statements that write these rows, with their values.

    Few lengths are used, so that each is compiled once; what is missing is filled up with rows that meet nothing.
    """
    if len(rows) == 1:
        yield _one(template), rows[0]
        return
    for length, values in pages(rows, template.width):
        yield _many(template, length), values


def pages(rows: Sequence[Sequence[Any]], width: int) -> Iterator[tuple[int, list[Any]]]:
    """Return the values of up to 256 rows at a time, and how many rows they are after filling up."""
    for start in range(0, len(rows), MOST_ROWS):
        part = rows[start : start + MOST_ROWS]
        length = 1 << (len(part) - 1).bit_length()
        yield length, [*chain.from_iterable(part), *[None] * (width * (length - len(part)))]


@cache
def _one(template: Template) -> str:
    return template.one.format("", *(f"?{n}" for n in range(1, template.width + 1)))


@cache
def _many(template: Template, length: int) -> str:
    row = f"({', '.join('?' * template.width)})"
    values = (f"v.column{n}" for n in range(1, template.width + 1))
    return template.many.format("", *values, rows=", ".join([row] * length))


def table_sql(table: Table) -> Iterator[str]:
    """Return what makes a table and its indexes."""
    columns = [f'"{column.name}" {WORDS[column.type]}{"" if column.null else " NOT NULL"}' for column in table.columns]
    serial = any(column.type is Type.SERIAL for column in table.columns)
    key = [] if serial else [f"PRIMARY KEY ({_columns(table.key)})"]
    tail = " WITHOUT ROWID" if table.clustered else ""
    yield f"CREATE TABLE {table.name} ({', '.join((*columns, *key))}){tail}"
    for index in table.indexes:
        unique = "UNIQUE " if index.unique else ""
        where = f" WHERE {index.where}" if index.where else ""
        name = "_".join((table.name, "by", *index.columns))
        yield f"CREATE {unique}INDEX {name} ON {table.name} ({_columns(index.columns)}){where}"


# INTEGER PRIMARY KEY is the row's own number; AUTOINCREMENT keeps one from coming again.
WORDS = {
    Type.TEXT: "TEXT",
    Type.INTEGER: "INTEGER",
    Type.REAL: "REAL",
    Type.BYTES: "BLOB",
    Type.SERIAL: "INTEGER PRIMARY KEY AUTOINCREMENT",
}
