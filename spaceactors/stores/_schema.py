"""The tables of a durable store, as data: both databases make their tables and statements from this one description.

Pure: no database is imported here. A changed shape is a new `VERSION` with an entry in `MIGRATIONS`; what was released
stays as it was.
"""

from __future__ import annotations

from enum import Enum
from typing import final

from attrs import frozen


@final
class Type(Enum):
    """What a column holds."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BYTES = "bytes"
    # A rising number that the database itself gives, and never gives again.
    SERIAL = "serial"


@final
@frozen
class Column:
    """One column; `null`: it may be empty."""

    name: str
    type: Type
    null: bool = False


@final
@frozen
class Index:
    """An index; `where`: only over rows of which this holds, in SQL that both databases read."""

    columns: tuple[str, ...]
    where: str = ""
    unique: bool = False


@final
@frozen
class Table:
    """One table."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    indexes: tuple[Index, ...] = ()
    # Rows lie in the order of the key itself: for rows that are small and found by key alone.
    clustered: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)


def _text(name: str, *, null: bool = False) -> Column:
    return Column(name, Type.TEXT, null)


def _integer(name: str) -> Column:
    return Column(name, Type.INTEGER)


def _real(name: str, *, null: bool = False) -> Column:
    return Column(name, Type.REAL, null)


def _bytes(name: str, *, null: bool = False) -> Column:
    return Column(name, Type.BYTES, null)


_KEY = (_text("kind"), _text("id"))

# One number by name: "epoch" is that of the latest opening.
META = Table("meta", (_text("name"), _integer("value")), ("name",))

# Not clustered: kinds are counted, and ids listed, from the small index, not past every state.
SPACES = Table(
    "spaces",
    (
        *_KEY,
        _text("grp", null=True),
        _bytes("state", null=True),
        _integer("version"),
        _integer("epoch"),
        _integer("length"),
        _integer("next_entry"),
        _integer("last_event"),
        _bytes("counters", null=True),
        _integer("flags"),
        _bytes("note", null=True),
    ),
    ("kind", "id"),
    clustered=False,
)

# By number: new messages are put at the end, and an opening reads them in this order.
MAILBOX = Table(
    "mailbox",
    (
        *_KEY,
        _integer("number"),
        _text("message_id", null=True),
        _bytes("body"),
        _real("at"),
        _real("expires_at", null=True),
        _integer("attempts"),
        _integer("recoveries"),
        # 0 or 1
        _integer("asleep"),
    ),
    ("number",),
    (Index(("kind", "id", "number")), Index(("kind",), where="asleep = 1")),
    clustered=False,
)

HISTORY = Table("history", (*_KEY, _integer("position"), _real("at"), _bytes("value")), ("kind", "id", "position"))

EVENTS = Table("events", (*_KEY, _integer("position"), _bytes("value")), ("kind", "id", "position"))

TIMERS = Table(
    "timers",
    (*_KEY, _text("key"), _real("due"), _real("every", null=True), _bytes("body")),
    ("kind", "id", "key"),
    (Index(("kind", "due")),),
)

KNOWN = Table("known", (*_KEY, _text("message_id"), _real("at"), _bytes("body")), ("kind", "id", "message_id"))

STEPS = Table(
    "steps",
    (*_KEY, _integer("number"), _text("key"), _integer("position"), _bytes("body")),
    ("kind", "id", "number", "key"),
)

# `seq` is the order in which they were asked.
QUESTIONS = Table(
    "questions",
    (
        Column("seq", Type.SERIAL),
        _text("question_id"),
        *_KEY,
        _integer("number"),
        _text("name"),
        _real("expires_at", null=True),
        _bytes("body"),
    ),
    ("seq",),
    (
        Index(("question_id",), unique=True),
        Index(("kind", "id", "number")),
        Index(("kind", "expires_at"), where="expires_at IS NOT NULL"),
    ),
    clustered=False,
)

LETTERS = Table(
    "letters",
    (
        Column("number", Type.SERIAL),
        *_KEY,
        _text("message_id"),
        _integer("attempts"),
        _real("at"),
        _bytes("body"),
        _bytes("error"),
    ),
    ("number",),
    (Index(("kind", "id", "number")), Index(("message_id",))),
    clustered=False,
)

TABLES = (META, SPACES, MAILBOX, HISTORY, EVENTS, TIMERS, KNOWN, STEPS, QUESTIONS, LETTERS)

# Those with rows of spaces, all of which have the columns `kind` and `id`.
OF_SPACES = TABLES[1:]

# The version of the shape above.
VERSION = 1

# What brings a database of version n to n + 1, by n: statements in SQL that both databases read, where `{text}`,
# `{integer}`, `{real}` and `{bytes}` stand for a database's own words.
MIGRATIONS: dict[int, tuple[str, ...]] = {}
