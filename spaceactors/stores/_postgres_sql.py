"""The statements of the PostgreSQL engine, made from the tables of `_schema`.

Pure: text and bytes only, no connection. Each statement takes a whole group of rows, one array for each value of a row,
so that a batch costs a handful of statements however many rows it has.
"""

# ruff: noqa: S608 (SQL is put together from our own words)

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, final

from attrs import frozen

from spaceactors.stores._engine import Put
from spaceactors.stores._schema import MAILBOX, OF_SPACES, QUESTIONS, SPACES, STEPS, TABLES, Table, Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from spaceactors.stores._schema import Column

# A statement and its values, ready to be sent.
Sending: TypeAlias = tuple[str, "Sequence[object]"]

NULL = b"\xff\xff\xff\xff"


class Array(bytes):
    """A column of values in PostgreSQL's binary form of an array, which needs no quoting and has one type for ever.

    One type for ever, so that a statement is prepared once: the driver's own arrays of numbers change theirs with the
    numbers in them.
    """

    __slots__ = ()

    oid: ClassVar[int]
    _element: ClassVar[int]

    @classmethod
    def of(cls, values: Sequence[Any]) -> Self:
        """Encode values, of which each may be None."""
        nulls = int(None in values)
        parts = [NULL if value is None else cls._encoded(value) for value in values]
        return cls(b"".join((pack("!iiiii", 1, nulls, cls._element, len(parts), 1), *parts)))

    @staticmethod
    def _encoded(value: Any) -> bytes:
        raise NotImplementedError


@final
class Texts(Array):
    """Of `text`."""

    __slots__ = ()
    oid, _element = 1009, 25

    @staticmethod
    def _encoded(value: str) -> bytes:
        # What is no text at all is for the database to refuse, as it refuses other values.
        data = value.encode(errors="surrogatepass")
        return pack("!i", len(data)) + data


@final
class Integers(Array):
    """Of `bigint`."""

    __slots__ = ()
    oid, _element = 1016, 20

    @staticmethod
    def _encoded(value: int) -> bytes:
        return pack("!iq", 8, value)


@final
class Reals(Array):
    """Of `double precision`."""

    __slots__ = ()
    oid, _element = 1022, 701

    @staticmethod
    def _encoded(value: float) -> bytes:
        return pack("!id", 8, value)


@final
class Bytes(Array):
    """Of `bytea`."""

    __slots__ = ()
    oid, _element = 1001, 17

    @staticmethod
    def _encoded(value: bytes) -> bytes:
        return pack("!i", len(value)) + value


ARRAYS: dict[Type, type[Array]] = {
    Type.TEXT: Texts,
    Type.INTEGER: Integers,
    Type.SERIAL: Integers,
    Type.REAL: Reals,
    Type.BYTES: Bytes,
}

# What a value that is no column of the same name in its table holds.
_OTHERS = {"new_version": Type.INTEGER, "epoch": Type.INTEGER}


@final
@frozen
class Statement:
    """One statement for a group of rows; `guarded`: it must touch as many rows as it is given."""

    text: str
    arrays: tuple[type[Array], ...]
    guarded: bool = False

    def sending(self, rows: Iterable[Sequence[Any]]) -> Sending:
        """Return it with the values of these rows."""
        columns = zip(*rows, strict=True)
        return self.text, [array.of(column) for array, column in zip(self.arrays, columns, strict=True)]


def _made(table: Table, names: str, text: str, *, guarded: bool = False) -> Statement:
    """Return a statement in which `{n}` stands for the rows, as a table `n` with columns of these names."""
    columns = names.split()
    types = _OTHERS | {column.name: column.type for column in table.columns}
    given = f"unnest({', '.join(['%s'] * len(columns))}) AS n({', '.join(columns)})"
    return Statement(text.format(n=given), tuple(ARRAYS[types[name]] for name in columns), guarded)


def _insert(table: Table, then: str = "", *, join: str = "", extra: str = "") -> Statement:
    """Return what adds rows, in their order; with `join`, each row must find its partner, by `extra` values too."""
    names = [column.name for column in table.columns if column.type is not Type.SERIAL and column.name != "asleep"]
    values = ", ".join(f"n.{name}" for name in names)
    into = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {values} FROM {{n}} {join}{then}"
    return _made(table, " ".join([*names, *extra.split()]), into, guarded=bool(join))


def _delete(table: Table, names: str, *, upto: str = "", guarded: bool = False) -> Statement:
    """Return what removes rows by these values; of the column `upto`, all values up to the one given."""
    same = [f"t.{name} {'<=' if name == upto else '='} n.{name}" for name in names.split()]
    return _made(table, names, f"DELETE FROM {table.name} t USING {{n}} WHERE {' AND '.join(same)}", guarded=guarded)


def _replace(table: Table) -> str:
    """Return what puts a row in the place of an earlier one of the same key."""
    rest = [name for name in table.names if name not in table.key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in rest)
    return f" ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {changes}"


def _save(names: str) -> Statement:
    """Return what brings a space to a new version."""
    given = "kind id epoch version new_version " + names
    changes = ", ".join(f"{name} = n.{name}" for name in names.split())
    text = (
        f"UPDATE spaces t SET version = n.new_version, {changes} FROM {{n}}"
        " WHERE t.kind = n.kind AND t.id = n.id AND t.epoch = n.epoch AND t.version = n.version"
    )
    return _made(SPACES, given, text, guarded=True)


_BY_NAME = {table.name: table for table in TABLES}

_NEW_SPACE = _made(
    SPACES,
    "kind id grp epoch",
    "INSERT INTO spaces (kind, id, grp, version, epoch, length, next_entry, last_event, flags)"
    " SELECT n.kind, n.id, n.grp, 0, n.epoch, 0, 1, 0, 0 FROM {n} ON CONFLICT DO NOTHING",
)

# Not locked for sharing but for an update: a later opening that claims the space waits for this transaction, and reads
# the message; two that share a lock and then both save would wait for each other.
NEW_MESSAGE_OF_OWNER = _insert(
    MAILBOX,
    join="JOIN spaces s ON s.kind = n.kind AND s.id = n.id AND s.epoch = n.epoch FOR NO KEY UPDATE OF s",
    extra="epoch",
)

_MARK_MESSAGE = _made(
    MAILBOX,
    "kind id number attempts asleep",
    "UPDATE mailbox t SET attempts = n.attempts, asleep = n.asleep FROM {n}"
    " WHERE t.number = n.number AND t.kind = n.kind AND t.id = n.id",
)


def _without(table: Table, of: Table, names: str) -> str:
    same = " AND ".join(f"t.{name} = n.{name}" for name in names.split())
    return f"{table.name}_of_{of.name} AS (DELETE FROM {table.name} t USING n WHERE {same})"


_DROP_MESSAGE = _made(
    MAILBOX,
    "kind id number",
    f"WITH n AS (SELECT * FROM {{n}}), {_without(STEPS, MAILBOX, 'kind id number')},"
    f" {_without(QUESTIONS, MAILBOX, 'kind id number')}"
    " DELETE FROM mailbox t USING n WHERE t.number = n.number AND t.kind = n.kind AND t.id = n.id",
    guarded=True,
)

_ERASE_SPACE = _made(
    SPACES,
    "kind id",
    "WITH n AS (SELECT * FROM {n}), "
    + ", ".join(_without(table, SPACES, "kind id") for table in OF_SPACES if table is not SPACES)
    + " DELETE FROM spaces t USING n WHERE t.kind = n.kind AND t.id = n.id",
)

_AFTER_STATE = "length next_entry last_event counters flags note"

STATEMENTS: dict[Put, Statement] = {
    Put.NEW_SPACE: _NEW_SPACE,
    # Of a sender who does not own the space.
    Put.NEW_MESSAGE: _insert(MAILBOX),
    Put.SAVE_SPACE: _save("state " + _AFTER_STATE),
    Put.MARK_SPACE: _save(_AFTER_STATE),
    Put.MARK_MESSAGE: _MARK_MESSAGE,
    Put.ADD_ENTRY: _insert(_BY_NAME["history"]),
    Put.TRIM_ENTRIES: _delete(_BY_NAME["history"], "kind id position", upto="position"),
    Put.ADD_EVENT: _insert(_BY_NAME["events"]),
    Put.TRIM_EVENTS: _delete(_BY_NAME["events"], "kind id position", upto="position"),
    Put.SET_TIMER: _insert(_BY_NAME["timers"], _replace(_BY_NAME["timers"])),
    Put.DROP_TIMER: _delete(_BY_NAME["timers"], "kind id key"),
    Put.ADD_KNOWN: _insert(_BY_NAME["known"], _replace(_BY_NAME["known"])),
    Put.DROP_KNOWN: _delete(_BY_NAME["known"], "kind id message_id"),
    Put.ADD_STEP: _insert(STEPS),
    Put.ASK: _insert(QUESTIONS),
    Put.CLOSE_QUESTION: _delete(QUESTIONS, "question_id", guarded=True),
    Put.BURY: _insert(_BY_NAME["letters"]),
    Put.UNBURY: _delete(_BY_NAME["letters"], "number", guarded=True),
    Put.DROP_MESSAGE: _DROP_MESSAGE,
    Put.DROP_PLAIN_MESSAGE: _delete(MAILBOX, "kind id number", guarded=True),
    Put.ERASE_SPACE: _ERASE_SPACE,
}


def sendings(put: Put, rows: Sequence[Sequence[Any]]) -> Iterable[tuple[Sending, int]]:
    """Return what writes the rows of a group, each with how many rows it must touch; -1: any number."""
    if put is Put.NEW_MESSAGE:
        owners = [row for row in rows if row[-1] is not None]
        rows = [row[:-1] for row in rows if row[-1] is None]
        if owners:
            yield NEW_MESSAGE_OF_OWNER.sending(owners), len(owners)
    if rows:
        statement = STATEMENTS[put]
        yield statement.sending(rows), len(rows) if statement.guarded else -1


# ---- the tables themselves

# What stands for a type in `CREATE TABLE` and in migrations. Texts are compared by their bytes, as everywhere else.
WORDS = {
    Type.TEXT: 'text COLLATE "C"',
    Type.INTEGER: "bigint",
    Type.REAL: "double precision",
    Type.BYTES: "bytea",
    Type.SERIAL: "bigint GENERATED ALWAYS AS IDENTITY",
}

# One row for each opening, with the number of its last batch: it tells whether an interrupted commit was kept. Only
# here: an embedded database answers for its own commits.
OPENINGS = "CREATE TABLE openings (epoch bigint PRIMARY KEY, batch bigint NOT NULL) WITH (fillfactor = 20)"


def table_statements(table: Table) -> Iterable[str]:
    """Return what makes a table and its indexes."""
    columns = [_column(column) for column in table.columns]
    yield f"CREATE TABLE {table.name} ({', '.join(columns)}, PRIMARY KEY ({', '.join(table.key)}))"
    for index in table.indexes:
        unique = "UNIQUE " if index.unique else ""
        where = f" WHERE {index.where}" if index.where else ""
        yield f"CREATE {unique}INDEX ON {table.name} ({', '.join(index.columns)}){where}"


def _column(column: Column) -> str:
    null = "" if column.null else " NOT NULL"
    # A message does not sleep when it comes.
    default = " DEFAULT 0" if column.name == "asleep" else ""
    return f"{column.name} {WORDS[column.type]}{null}{default}"
