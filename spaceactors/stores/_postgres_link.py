"""Connections to PostgreSQL that never wait for ever, and what their errors mean."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, final

import psycopg
from psycopg import Connection, pq
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from spaceactors._errors import StoreError
from spaceactors.stores._postgres_sql import Array, Bytes, Integers, Reals, Texts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from psycopg import Cursor
    from psycopg.rows import TupleRow

    from spaceactors.stores._postgres_sql import Sending

T = TypeVar("T")

# What a session is told when it begins; what the user's `options` say comes behind it and wins.
#
# The planner is held to indexes: a batch names its rows by key, and a plan that was made while a table was small must
# not read all of it when it has grown.
SETTINGS = {
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "20s",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read\\ committed",
    "client_min_messages": "error",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}

# Seconds, except where the name says otherwise: a peer that is gone is noticed within a quarter of a minute.
CONNECTING = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,  # milliseconds
    "client_encoding": "UTF8",
}

# The first two characters of an error's code: the connection is lost, the server goes down or is not up.
_CONNECTION_CLASSES = ("08", "57")
_STATEMENT_CANCELLED = "57014"


class _AsItIs(Dumper):
    """Sends an array as it was encoded."""

    format = pq.Format.BINARY

    def dump(self, obj: Any) -> bytes:
        return bytes(obj)


_DUMPERS: list[tuple[type[Array], type[Dumper]]] = [
    (array, type(f"{array.__name__}Dumper", (_AsItIs,), {"oid": array.oid}))
    for array in (Texts, Integers, Reals, Bytes)
]


class Silence(psycopg.OperationalError):
    """The server gave no answer in time; the connection was cut."""


@final
class Link(Connection["TupleRow"]):
    """A connection on which no answer is waited for longer than `patience` seconds."""

    patience: float = 15.0
    # The process that serves it, and since when: together they name it for ever.
    backend: tuple[int, Any] = (0, None)

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Wait for an answer, but not for ever: a server that is stopped keeps its connections up."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        deadline = monotonic() + self.patience
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and monotonic() > deadline:
                    self.pgconn.finish()
                    raise Silence(f"no answer within {self.patience:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result

    def flight(self, sendings: Iterable[Sending]) -> list[Cursor[TupleRow]]:
        """Send statements together, and wait once for all their answers."""
        cursors: list[Cursor[TupleRow]] = []
        # The first error tells what happened; leaving the pipeline may only tell that there was one.
        first: psycopg.Error | None = None
        try:
            with self.pipeline():
                try:
                    self._send(sendings, cursors)
                except psycopg.Error as error:
                    first = error
        except psycopg.Error as error:
            first = first or error
        if first is not None:
            raise first
        return cursors

    def _send(self, sendings: Iterable[Sending], cursors: list[Cursor[TupleRow]]) -> None:
        for text, values in sendings:
            cursor = self.cursor(binary=True)
            cursor.execute(text.encode(), values, prepare=bool(values))
            cursors.append(cursor)

    def plain(self, text: str) -> str | None:
        """Run a statement that takes and returns nothing; return what the server says that it did."""
        return self.execute(text.encode(), prepare=False).statusmessage

    def rows(self, text: str, *values: object) -> list[TupleRow]:
        """Run a statement and return its rows."""
        return self.cursor(binary=True).execute(text.encode(), values, prepare=True).fetchall()


@final
class Address:
    """Where a database is, and how it is spoken to.

    Raises:
        StoreError: the dsn cannot be read.

    """

    def __init__(self, dsn: str, what: str, patience: float) -> None:
        try:
            given = conninfo_to_dict(dsn)
        except psycopg.Error:
            # Not chained: the driver's text repeats the dsn, with the password in it.
            raise StoreError(
                f"{what} cannot read its dsn; write 'postgresql://user:password@host:5432/database'"
                " or 'host=... dbname=... user=...'"
            ) from None
        self._given = given
        self.patience = patience
        host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", "localhost")
        database = given.get("dbname") or os.environ.get("PGDATABASE") or given.get("user") or "?"
        self.name = f"{what}({host}/{database})"

    def connect(self, **settings: str) -> Link:
        """Open a connection; `settings` of the session override ours, and the user's `options` both.

        Raises:
            StoreError: it cannot be opened now.

        """
        try:
            link = Link.connect(self._conninfo(SETTINGS | settings), autocommit=True)
        except psycopg.Error as error:
            raise self.error("cannot connect", error) from error
        link.patience = self.patience
        for array, dumper in _DUMPERS:
            link.adapters.register_dumper(array, dumper)
        try:
            link.backend = link.rows("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")[0]
        except psycopg.Error as error:
            link.close()
            raise self.error("cannot connect", error) from error
        return link

    def _conninfo(self, settings: dict[str, str]) -> str:
        ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
        theirs = self._given.get("options") or os.environ.get("PGOPTIONS", "")
        defaults: dict[str, Any] = {"fallback_application_name": "spaceactors"} | CONNECTING
        if "PGCONNECT_TIMEOUT" in os.environ:
            del defaults["connect_timeout"]
        return make_conninfo("", **(defaults | self._given | {"options": f"{ours} {theirs}"}))

    def error(self, what: str, error: BaseException) -> StoreError:
        """Return a `StoreError` that says what could not be done, why, and what helps."""
        return StoreError(f"{self.name} {what}: {reason(error)}; {advice(error)}")


def reason(error: BaseException) -> str:
    """Return what the server or the driver says, in one line."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = (said or str(error) or type(error).__name__).strip().splitlines()
    return "; ".join(line.strip() for line in lines)


_ADVICE: tuple[tuple[tuple[type[psycopg.Error], ...], str], ...] = (
    ((psycopg.errors.InsufficientPrivilege,), "grant the user what it needs, or name another user in the dsn"),
    ((psycopg.errors.DiskFull, psycopg.errors.OutOfMemory), "make room at the server; then work goes on by itself"),
    ((psycopg.errors.ReadOnlySqlTransaction,), "this server does not write; name the primary one in the dsn"),
    (
        (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, Silence),
        "see what keeps the server busy; how long to wait is set with options=-cstatement_timeout=... in the dsn",
    ),
    ((psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn), "open the store again: its tables were changed"),
    ((psycopg.errors.DataError,), "such a value cannot be kept"),
    ((psycopg.errors.IntegrityError,), "it is there already, or lacks a value"),
    ((psycopg.OperationalError,), "see whether the server is up, and the dsn right; work goes on by itself when it is"),
)


def advice(error: BaseException) -> str:
    """Return what whoever runs the service may do."""
    return next((text for classes, text in _ADVICE if isinstance(error, classes)), "see the server's log")


def lost(link: Link, error: BaseException) -> bool:
    """Tell whether the connection cannot be used any more after this error."""
    if link.closed or isinstance(error, psycopg.InterfaceError):
        return True
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(_CONNECTION_CLASSES) and state != _STATEMENT_CANCELLED
